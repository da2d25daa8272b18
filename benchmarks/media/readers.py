"""The readers that are compared, each at its best settings, behind one interface.

Every class opens a file for frames of ``size`` x ``size`` (stretched; None: as they are coded) with
``threads`` of FFmpeg's decoder (0: automatic). ``count`` is the number of frames that the reader
tells, ``clip`` gives frames by number, ``whole`` all frames in pieces of the reader's own choice.
A module is imported where its reader is made: each lives in a worker with its own packages.
"""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
PIECE = 32
"""Frames in a piece, where a reader would else need room for a whole file."""
LARGE = 480 * 270
"""Pixels from which video-reader-rs is quicker with its ``decode_fast``."""


class Reader(Protocol):
    """An open file."""

    count: int

    def clip(self, numbers: Sequence[int]) -> Frames:
        """Return frames [T, H, W, 3] by number, which rise evenly."""

    def whole(self) -> Iterator[Frames]:
        """Yield all frames, as [T, H, W, 3]."""


class PyAv:
    """One seek, then frames in turn, with one reformatter."""

    def __init__(self, path: Path, size: int | None, threads: int) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        self.container = av.open(path)
        self.stream = self.container.streams.best("video")
        self.stream.codec_context.thread_count = threads
        self.stream.codec_context.thread_type = "AUTO"
        self.size = size
        self.reformat = VideoReformatter().reformat
        self.tick = 1 / (self.stream.average_rate * self.stream.time_base)
        self.start = self.stream.start_time or 0
        self.count = self.stream.frames or round(
            self.container.duration / 1e6 * self.stream.average_rate
        )

    def clip(self, numbers: Sequence[int]) -> Frames:
        first = self.start + round(numbers[0] * self.tick)
        self.container.seek(first, stream=self.stream)
        wanted, found = set(numbers), []
        for frame in self.frames(wanted):
            number = round((frame.pts - self.start) / self.tick)
            if number in wanted:
                found.append(self.rgb(frame))
            if len(found) == len(numbers):
                break
        return np.stack(found)

    def frames(self, wanted: set[int]) -> Iterator[Any]:  # noqa: ARG002  PyAvSkip's needs it
        return self.container.decode(self.stream)

    def whole(self) -> Iterator[Frames]:
        for frame in self.container.decode(self.stream):
            yield self.rgb(frame)[None]

    def rgb(self, frame: Any) -> Frames:
        small = self.reformat(
            frame, self.size, self.size, "rgb24", interpolation="BILINEAR", threads=1
        )
        return small.to_ndarray()


class PyAvSkip(PyAv):
    """PyAV by packets: those that no wanted frame needs are left out or not decoded."""

    def frames(self, wanted: set[int]) -> Iterator[Any]:
        context = self.stream.codec_context
        is_intra = self.stream.codec.intra_only
        for packet in self.container.demux(self.stream):
            is_wanted = packet.pts is None or (
                round((packet.pts - self.start) / self.tick) in wanted
            )
            if is_intra and not is_wanted:
                continue
            context.skip_frame = "DEFAULT" if is_wanted else "NONREF"
            yield from context.decode(packet)


class TorchCodec:
    """Exact mode, with the resize inside the decoder."""

    seek_mode = "exact"

    def __init__(self, path: Path, size: int | None, threads: int) -> None:
        import torch
        from torchcodec.decoders import VideoDecoder
        from torchcodec.transforms import Resize

        # more threads only wait for each other
        torch.set_num_threads(1)
        self.decoder = VideoDecoder(
            path,
            num_ffmpeg_threads=threads,
            dimension_order="NHWC",
            seek_mode=self.seek_mode,
            transforms=[Resize((size, size))] if size else None,
        )
        self.count = self.decoder.metadata.num_frames

    def clip(self, numbers: Sequence[int]) -> Frames:
        return self.decoder.get_frames_at(list(numbers)).data.numpy()

    def whole(self) -> Iterator[Frames]:
        for first in range(0, self.count, PIECE):
            last = min(first + PIECE, self.count)
            yield self.decoder.get_frames_in_range(first, last).data.numpy()


class TorchCodecApproximate(TorchCodec):
    """Without the scan of the file."""

    seek_mode = "approximate"


class VideoReaderRs:
    """Seeks, or decodes all that comes before, as the reader itself estimates the cost."""

    is_sequential: bool | None = None

    def __init__(self, path: Path, size: int | None, threads: int) -> None:
        from video_reader import PyVideoReader

        self.reader = PyVideoReader(
            str(path),
            threads=threads,
            target_width=size,
            target_height=size,
            resize_algo="bilinear",
        )
        self.count, height, width = self.reader.get_shape()
        self.is_fast = size is None and height * width >= LARGE

    def clip(self, numbers: Sequence[int]) -> Frames:
        return self.reader.get_batch(list(numbers), with_fallback=self.is_sequential)

    def whole(self) -> Iterator[Frames]:
        if self.is_fast:
            yield from (frame[None] for frame in self.reader.decode_fast())
        else:
            yield self.reader.decode()


class VideoReaderRsSeeking(VideoReaderRs):
    """Always seeks: its estimate is far off where every frame is a key frame."""

    is_sequential = False


class Decord:
    """Resize inside the reader."""

    def __init__(self, path: Path, size: int | None, threads: int) -> None:
        import decord

        side = size or -1
        self.reader = decord.VideoReader(str(path), width=side, height=side, num_threads=threads)
        self.count, self.size = len(self.reader), size

    def clip(self, numbers: Sequence[int]) -> Frames:
        return self.reader.get_batch(list(numbers)).asnumpy()

    def whole(self) -> Iterator[Frames]:
        if not self.size:
            yield from (self.reader.next().asnumpy()[None] for _ in range(self.count))
            return
        for first in range(0, self.count, PIECE):
            yield self.clip(range(first, min(first + PIECE, self.count)))


class OpenCv:
    """Frames between are grabbed, not converted."""

    def __init__(self, path: Path, size: int | None, threads: int) -> None:
        import cv2

        cv2.setNumThreads(threads or -1)
        self.cv2, self.size = cv2, size
        options = [cv2.CAP_PROP_N_THREADS, threads] if threads else []
        self.capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, options)
        self.count = int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT))

    def clip(self, numbers: Sequence[int]) -> Frames:
        stride = numbers[1] - numbers[0] if len(numbers) > 1 else 1
        if numbers[0]:
            self.capture.set(self.cv2.CAP_PROP_POS_FRAMES, numbers[0])
        found = []
        for i in range(len(numbers)):
            for _ in range(stride - 1 if i else 0):
                self.capture.grab()
            found.append(self.next())
        return np.stack(found)

    def whole(self) -> Iterator[Frames]:
        while self.capture.grab():
            yield self.rgb(self.capture.retrieve()[1])[None]

    def next(self) -> Frames:
        is_read, frame = self.capture.read()
        if not is_read:
            raise OSError("no frame")
        return self.rgb(frame)

    def rgb(self, frame: Frames) -> Frames:
        cv2 = self.cv2
        if self.size:
            is_smaller = self.size <= min(frame.shape[:2])
            # area is antialiased, but only for a smaller frame
            way = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
            frame = cv2.resize(frame, (self.size, self.size), interpolation=way)
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


class FfmpegProgram:
    """One process a clip; it seeks by time, half a frame early."""

    def __init__(self, path: Path, size: int | None, threads: int) -> None:
        self.path, self.size, self.threads = path, size, threads
        self.rate, self.count, self.shape = _known(path)
        if size:
            self.shape = (size, size)

    def clip(self, numbers: Sequence[int]) -> Frames:
        stride = numbers[1] - numbers[0] if len(numbers) > 1 else 1
        seconds = max(0.0, (numbers[0] - 0.5) / self.rate)
        select = [f"select=not(mod(n\\,{stride}))"]
        command = self.command(["-ss", f"{seconds:.6f}"], select, ["-frames:v", str(len(numbers))])
        done = subprocess.run(command, capture_output=True, check=True)
        return np.frombuffer(done.stdout, np.uint8).reshape(-1, *self.shape, 3)

    def whole(self) -> Iterator[Frames]:
        bytes_each = self.shape[0] * self.shape[1] * 3
        with subprocess.Popen(self.command([], [], []), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            while piece := process.stdout.read(PIECE * bytes_each):
                yield np.frombuffer(piece, np.uint8).reshape(-1, *self.shape, 3)

    def command(self, seek: list[str], filters: list[str], limit: list[str]) -> list[str]:
        if self.size:
            filters = [*filters, f"scale={self.size}:{self.size}:flags=bilinear"]
        chain = ["-vf", ",".join(filters)] if filters else []
        decoder = ["-threads", str(self.threads), *seek, "-i", str(self.path)]
        output = ["-vsync", "passthrough", *limit, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        return ["ffmpeg", "-v", "error", "-nostdin", *decoder, "-an", "-sn", *chain, *output]


@cache
def _known(path: Path) -> tuple[float, int, tuple[int, int]]:
    """What a user of the program knows of a file beforehand: it is not counted against it."""
    import av

    with av.open(path) as container:
        stream = container.streams.best("video")
        count = stream.frames or round(container.duration / 1e6 * stream.average_rate)
        return float(stream.average_rate), count, (stream.height, stream.width)


class Fastvd:
    """The public functions; each finds the file's frame table again."""

    def __init__(self, path: Path, size: int | None, threads: int) -> None:
        from fastvd import media

        self.media, self.path, self.size = media, path, size
        self.threads = threads or len(os.sched_getaffinity(0))

    @property
    def count(self) -> int:
        return self.media.probe(self.path).frames

    def clip(self, numbers: Sequence[int]) -> Frames:
        stride = numbers[1] - numbers[0] if len(numbers) > 1 else 1
        return self.media.read_clip(
            self.path,
            start=numbers[0],
            frames=len(numbers),
            stride=stride,
            size=self.size,
            fit="stretch",
            threads=self.threads,
        )

    def whole(self) -> Iterator[Frames]:
        view = {"size": self.size, "fit": "stretch", "threads": self.threads}
        if self.size is None:
            yield from self.media.iter_clips(self.path, frames=PIECE, **view)
        else:
            yield self.media.read_clip(self.path, **view)


READERS: dict[str, Callable[[Path, int | None, int], Reader]] = {
    "fastvd": Fastvd,
    "fastvd, first time": Fastvd,
    "fastvd, loader": Fastvd,
    "pyav": PyAv,
    "pyav, skipping": PyAvSkip,
    "torchcodec": TorchCodec,
    "torchcodec, approximate": TorchCodecApproximate,
    "video-reader-rs": VideoReaderRs,
    "video-reader-rs, seeking": VideoReaderRsSeeking,
    "decord": Decord,
    "opencv": OpenCv,
    "ffmpeg": FfmpegProgram,
}
"""Two of a library share a worker: what comes before the comma names it."""
ONLY_FOR = {
    "fastvd, first time": ("clip", "open", "many"),
    "fastvd, loader": ("many",),
    "pyav, skipping": ("clip", "kept", "many"),
    "video-reader-rs, seeking": ("clip", "kept"),
}
"""Jobs of the readers that are another one again in all other jobs."""
