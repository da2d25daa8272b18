"""GIFs as Chromium shows them, against our own reader and Pillow, pixel by pixel.

A page in a browser without a window decodes each file by ``ImageDecoder`` and sends back what it
got. Needs Chromium: ``apt-get install chromium``.
"""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastvd.media.gif import read_gif, write_gif
from robust.seeds import moving_frames

TIMEOUT_S = 300
FAULTS = ("unlike_ours", "unlike_pillow", "other_delays", "other_loop")
"""Keys of a row that count what is not alike."""
PAGE = """
<script type="module">
const send = (name, body) => fetch(name, {method: "POST", body});
for (const name of await (await fetch("names")).json()) {
  try {
    const data = await (await fetch(name)).arrayBuffer();
    const options = {colorSpaceConversion: "none", premultiplyAlpha: "none"};
    const decoder = new ImageDecoder({data, type: "image/gif", ...options});
    await decoder.tracks.ready;
    await decoder.completed;
    const track = decoder.tracks.selectedTrack;
    const about = {repeats: track.repetitionCount, durations: []}, frames = [];
    for (let i = 0; i < track.frameCount; i++) {
      const {image} = await decoder.decode({frameIndex: i});
      about.durations.push(image.duration);
      about.size = [image.codedHeight, image.codedWidth];
      const pixels = new Uint8Array(image.allocationSize({format: "RGBA"}));
      await image.copyTo(pixels, {format: "RGBA"});
      image.close();
      frames.push(pixels);
    }
    // JSON has no infinity
    about.repeats = about.repeats === Infinity ? 0 : about.repeats || null;
    await send(name, new Blob([JSON.stringify(about), "\\n", ...frames]));
  } catch (error) {
    await send(name, JSON.stringify({error: String(error)}) + "\\n");
  }
}
await send("done", "");
</script>
"""


def compare_all(folder: Path, found: list[Path]) -> Iterator[dict[str, Any]]:
    """GIFs that fastvd writes, and those in ``found``: one row each."""
    made = write_all(folder)
    paths = {path.name: path for path in [*made, *found]}
    answers = ask_browser(folder, paths)
    for name, path in paths.items():
        yield {"gif": name, **compare(path, answers.get(name, b'{"error": "no answer"}\n'))}


def write_all(folder: Path) -> list[Path]:
    """One GIF of each kind that fastvd writes."""
    frames = moving_frames(8, height=54, width=96)
    noise = np.random.default_rng(0).integers(0, 256, (6, 31, 17, 4), dtype=np.uint8)
    still = np.repeat(frames[:1], 5, axis=0)
    still[2:, 9:20, 11:40] = frames[4:7, 9:20, 11:40]
    qualities, palettes = ("fast", "good", "best"), ("global", "scene", "local")
    kinds: dict[str, tuple[npt.NDArray[np.uint8], dict[str, Any]]] = {
        f"{q}-{p}": (frames, {"quality": q, "palette": p}) for q in qualities for p in palettes
    }
    kinds |= {f"lossy-{n}": (frames, {"lossy": n}) for n in (20, 80, 200)}
    kinds |= {f"dither-{d}": (frames, {"dither": d}) for d in ("ordered", "blue_noise", "none")}
    kinds |= {f"clear-{p}": (noise, {"palette": p}) for p in palettes}
    kinds |= {f"colors-{n}": (frames, {"colors": n}) for n in (2, 3, 17)}
    kinds |= {f"loop-{n}": (frames[:2], {"loop": n}) for n in (None, 0, 1, 3, 65535)}
    kinds |= {f"one-{h}x{w}": (noise[:1, :h, :w], {}) for h, w in ((1, 1), (31, 17), (1, 17))}
    delays = [0, 0.01, 0.02, 0.03, 0.5, 1, 10, 655.35]
    kinds |= {
        "still": (still, {}),
        "all-the-same": (still[:2], {"palette": "local"}),
        "all-clear": (np.zeros((3, 5, 7, 4), np.uint8), {}),
        "grey": (frames[..., :1], {}),
        "odd-71x95": (moving_frames(4, height=71, width=95), {}),
        # as wide as our reader goes
        "wide-8192": (np.arange(8192 * 3, dtype=np.uint8).reshape(1, 1, 8192, 3), {}),
        "delays": (frames, {"delays_s": delays}),
    }
    for name, (clip, options) in kinds.items():
        rate = {} if "delays_s" in options else {"fps": 12.5}
        write_gif(folder / f"{name}.gif", clip, **rate, **options)
    return [folder / f"{name}.gif" for name in kinds]


def compare(path: Path, answer: bytes) -> dict[str, Any]:
    """Frames, and how many of them differ from our own reader's and from Pillow's."""
    head, _, pixels = answer.partition(b"\n")
    about = json.loads(head)
    if "error" in about:
        return about
    own, pillow = read_gif(path), read_pillow(path)
    if about["size"] != list(own.frames.shape[1:3]) or len(about["durations"]) != len(own.frames):
        return {"error": f"{about['size']}, {len(about['durations'])} frames"}
    shown = np.frombuffer(pixels, np.uint8).reshape(pillow.shape)
    black = shown[..., :3] * (shown[..., 3:] > 0)
    axes = (1, 2, 3)
    return {
        "frames": len(shown),
        "unlike_ours": int((black != own.frames).any(axis=axes).sum()),
        "unlike_pillow": int((clear_as_nought(shown) != pillow).any(axis=axes).sum()),
        "other_delays": int((np.array(about["durations"]) != np.rint(own.delays_s * 1e6)).sum()),
        "other_loop": int(about["repeats"] != own.loop),
    }


def read_pillow(path: Path) -> npt.NDArray[np.uint8]:
    """Frames [T, H, W, 4] by Pillow."""
    with Image.open(path) as image:
        frames = []
        for i in range(getattr(image, "n_frames", 1)):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGBA")))
    return clear_as_nought(np.stack(frames))


def clear_as_nought(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What can't be seen has no colour."""
    return frames * (frames[..., 3:] > 0)


def ask_browser(folder: Path, paths: dict[str, Path]) -> dict[str, bytes]:
    """What Chromium sends back for each file."""
    answers: dict[str, bytes] = {}
    is_done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = unquote(self.path.lstrip("/"))
            pages = {"": PAGE.encode(), "names": json.dumps(list(paths)).encode()}
            body = (
                pages[name] if name in pages else paths[name].read_bytes() if name in paths else b""
            )
            self._answer(body, "text/html" if not name else "application/octet-stream")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answers[unquote(self.path.lstrip("/"))] = body
            self._answer(b"", "text/plain")
            if self.path == "/done":
                is_done.set()

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        browser = subprocess.Popen(
            ["chromium", *options, f"--user-data-dir={folder / 'profile'}", url],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            is_done.wait(TIMEOUT_S)
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()
    shutil.rmtree(folder / "profile", ignore_errors=True)
    return answers


def browser_version() -> str:
    """As it calls itself."""
    command = ["chromium", "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
