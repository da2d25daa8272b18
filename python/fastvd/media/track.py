"""What is known of a video without its pictures."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Track(NamedTuple):
    """What a look at all packets or a full decode tells of a file's best video stream."""

    times: npt.NDArray[np.float64]  # seconds, first = 0
    end: float  # when the last frame's time is over, in seconds
    size: tuple[int, int]  # height, width as shown
    rotation: int  # degrees clockwise
    codec: str
    has_audio: bool
