"""What is timed: jobs on files, with the targets that each has."""

from typing import NamedTuple

from media.files import SHORT

MPEG4 = "nasa_mpeg4_divx_160x120_25fps.avi"
NASA = "nasa_13013.mp4"
H264 = "h264_240p_60s.mp4"
H264_HD, HEVC_HD = "h264_720p_60s.mp4", "hevc_720p_20s.mp4"
VP9, AV1, MJPEG = "vp9_360p_20s.webm", "av1_360p_20s.mp4", "mjpeg_360p.avi"
FRAMES, STRIDE = 16, 4
STARTS = 20
# a clip of these takes long: fewer starts keep a run short
FEWER_STARTS = {H264_HD: 6, HEVC_HD: 6, VP9: 10, AV1: 10}

Target = tuple[float, float]
"""How much faster than the best peer: must, aim."""


class Case(NamedTuple):
    """A job on a file; ``threads`` is 1, or 0 for all cores."""

    name: str
    file: str
    threads: int
    target: Target
    size: int | None = None
    starts: int = 1
    rounds: int = 5

    @property
    def job(self) -> str:
        """What a worker is asked for."""
        name = self.name.rstrip("0123456789")
        return "whole" if name == "full" else name

    @property
    def title(self) -> str:
        """Names the case in the record, among all cases."""
        return f"{self.name}, {self.file}, {'one thread' if self.threads else 'all cores'}"

    @property
    def ours(self) -> str:
        """Which reading of ours is held against the peers: a first one where opening is the job."""
        return "fastvd, first time" if self.name == "open" else "fastvd"


def _clip_target(file: str) -> Target:
    if file == MPEG4:
        return 1.6, 2.5
    if file == MJPEG:
        return 2.0, 4.0
    if file in (VP9, AV1):
        return 1.1, 1.6
    return 1.3, 1.6


def _clip_cases() -> list[Case]:
    long = (H264, NASA, H264_HD, HEVC_HD, VP9, AV1)
    jobs = [("clip64", file, threads) for file in (*long, MPEG4, MJPEG) for threads in (1, 0)]
    jobs += [("clip256", file, 1) for file in long]
    jobs += [("kept64", file, 1) for file in (H264, NASA, MPEG4)]
    return [
        Case(
            name,
            file,
            threads,
            _clip_target(file),
            int(name[4:]),
            FEWER_STARTS.get(file, STARTS),
            rounds=3,
        )
        for name, file, threads in jobs
    ]


def _whole_cases() -> list[Case]:
    small = {H264: (2.0, 2.5), MPEG4: (2.0, 2.5), NASA: (2.0, 2.5)}
    large = {H264_HD: (1.4, 1.6), HEVC_HD: (1.4, 1.6)}
    cases = [
        Case("full64", file, threads, target, 64)
        for file, target in small.items()
        for threads in (1, 0)
    ]
    cases += [Case("full64", file, 0, target, 64, rounds=3) for file, target in large.items()]
    native = [(file, threads) for file in (H264, NASA, MPEG4) for threads in (1, 0)]
    cases += [Case("full", file, threads, (1.2, 2.0)) for file, threads in native]
    return [*cases, Case("full", HEVC_HD, 0, (1.2, 2.0), rounds=3)]


CASES = [
    *_clip_cases(),
    *(Case("open", f, 1, (1.0, 2.0), starts=STARTS) for f in (H264, NASA, MPEG4)),
    *_whole_cases(),
    Case("many64", SHORT, 0, (1.6, 2.5), 64, rounds=5),
]
QUICK = [
    Case(name, file, threads, target, size, min(starts, 3), 2)
    for name, file, threads, target, size, starts, _ in CASES
    if (name, file) in {("clip64", H264), ("clip256", NASA), ("kept64", MPEG4), ("open", NASA)}
    or (name, file, threads) in {("full64", MPEG4, 0), ("full", MPEG4, 1), ("many64", SHORT, 0)}
]
"""One file of each job."""
