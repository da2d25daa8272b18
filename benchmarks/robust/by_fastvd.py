"""Reads videos by fastvd's Rust core on a given FFmpeg and compares with what ``by_pyav`` wrote."""

import json
import sys
from pathlib import Path

import numpy as np

import fastvd._core as core

# the first call decides which FFmpeg is opened: before fastvd.native asks for the av wheel's
_REASON = core.open_ffmpeg(sys.argv[1] or None)

from fastvd.media.video import probe, read_clip  # noqa: E402
from robust.by_pyav import average  # noqa: E402

# the others have no tag or say BT.601
BT709 = {
    "av1_video.mkv", "bt709_full_range.mp4", "nasa_13013.mp4", "nasa_av1.mp4",
    "nasa_hevc_main10.mp4", "nasa_opengop_offset.ts", "nasa_vfr_h264.mp4", "nasa_vp9.webm",
    "rotate_180.mov", "rotate_90.mov",
}  # fmt: skip
TOLERANCE = 1.0
"""Levels by which the luma of RGB may differ from the decoder's on the mean of a frame."""
# ITU-R BT.601-7 and BT.709-6, section 3: luma of R, G, B
LUMA = {
    "bt601": np.array([0.299, 0.587, 0.114], np.float32),
    "bt709": np.array([0.2126, 0.7152, 0.0722], np.float32),
}
_CHUNK = 32


def main() -> None:
    """``by_fastvd.py FOLDER ORACLE VIDEO...``: FOLDER "" is the system's FFmpeg."""
    if _REASON is not None:
        raise SystemExit(_REASON)
    oracle = np.load(sys.argv[2])
    found = {path.name: compare(path, oracle[path.name]) for path in map(Path, sys.argv[3:])}
    print(json.dumps({"libraries": opened_libraries(), "videos": found}))


def compare(path: Path, expected: np.ndarray) -> dict[str, float]:
    """How many frames there are, how many differ, and the largest difference."""
    info = probe(path)
    if info.frames != len(expected):
        return {"frames": info.frames, "wrong": abs(info.frames - len(expected)), "largest": 255.0}
    distances, wrong = [], 0
    for start in range(0, info.frames, _CHUNK):
        clip = read_clip(path, start=start, frames=min(_CHUNK, info.frames - start))
        for i, frame in enumerate(clip, start):
            coded = np.rot90(frame, info.rotation // 90).astype(np.float32)
            luma = coded @ LUMA["bt709" if path.name in BT709 else "bt601"]
            near = expected[max(0, i - 1) : i + 2]
            all_near = np.abs(average(luma) - near).mean(axis=(1, 2))
            distances.append(float(all_near[min(i, 1)]))
            # no neighbour in time may be nearer, but for rounding where nothing moves
            wrong += distances[-1] > all_near.min() + 0.05 or distances[-1] > TOLERANCE
    return {"frames": info.frames, "wrong": int(wrong), "largest": round(max(distances), 3)}


def opened_libraries() -> list[str]:
    """File names of the FFmpeg libraries that this process holds."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = {Path(line.split()[-1]).resolve() for line in lines if "/libav" in line}
    return sorted(path.name for path in paths if "libavformat" in path.name)


if __name__ == "__main__":
    main()
