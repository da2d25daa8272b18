"""A process that reads files, one path a line, and answers with one line of JSON each.

A file that kills or hangs it costs the one who asked a restart, no more: see ``pool.py``.
"""

import json
import resource
import sys
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

from fastvd import native
from fastvd.errors import MediaError
from fastvd.media.video import probe, read_clip, read_frames


def main() -> None:
    """Answer until the input ends. Arguments: limit of memory in bytes, "rust" or "twin"."""
    limit, reader = int(sys.argv[1]), sys.argv[2]
    if limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if reader == "twin":
        native.available = native.video_available = False
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        start = time.monotonic()
        answer = read_file(path) | {"seconds": time.monotonic() - start, **footprint()}
        print(json.dumps(answer), flush=True)


def read_file(path: Path) -> dict[str, Any]:
    """Probe, read all frames, read one again: the count of frames, or the error and its text."""
    try:
        count = probe(path).frames
        clip = read_clip(path, size=32)
        number = zlib.crc32(path.name.encode()) % len(clip)
        again = read_frames(path, [number], size=32)
    except (MediaError, OSError) as error:
        return {"error": type(error).__name__, "text": str(error)}
    except BaseException as error:
        return {"error": type(error).__name__, "text": str(error), "is_untyped": True}
    return {"frames": count, "is_exact": len(clip) == count and bool((again == clip[number]).all())}


def footprint() -> dict[str, int]:
    """Resident bytes, open files and threads of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "rss": pages * resource.getpagesize(),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": len(list(Path("/proc/self/task").iterdir())),
    }


if __name__ == "__main__":
    main()
