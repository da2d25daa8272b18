"""Whether a clip shows one shape that moves: the check that the demo's recipe is judged by.

A clip is coherent if in every frame the largest lit component matches a shape (intersection over
union above 0.7), of one colour all through and of one kind in 80 % of the frames, and if its centre
of gravity moves on from frame to frame without a jump.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fastvd.data.synthetic import COLOURS, Kind, signed_distance

Fault = Literal["blank", "shape", "colour", "kind", "jump", "still"]

LIT = 100
MIN_OVERLAP = 0.7
MIN_SHARE_OF_KIND = 0.8
# of the height of a frame; real shapes move 0.0125 to 0.028 a frame
MAX_STEP = 0.094
MIN_PATH = 0.1
# of a shape of radius 1
AREAS: dict[Kind, float] = {"square": 3.14, "disc": 3.14, "triangle": 2.55}


class Verdict(NamedTuple):
    """``fault``: the first thing that is wrong, None for a coherent clip."""

    fault: Fault | None
    kind: Kind | None
    centres: NDArray[np.float64]
    """(x, y) of each frame in pixels, [T, 2]; of none if a frame is blank."""


class Blob(NamedTuple):
    """The largest lit component of a frame, as the shape that it is nearest to."""

    kind: Kind
    overlap: float
    colour: Kind
    centre: tuple[float, float]


def judge(clip: NDArray[np.uint8]) -> Verdict:
    """Look for one moving shape in a clip uint8 [T, H, W, 3]."""
    found = [find_blob(frame) for frame in clip]
    blobs = [blob for blob in found if blob is not None]
    if len(blobs) < len(found):
        return Verdict("blank", None, np.empty((0, 2)))
    kinds = [blob.kind for blob in blobs]
    kind = max(COLOURS, key=kinds.count)
    centres = np.array([blob.centre for blob in blobs])
    return Verdict(_fault(blobs, kinds.count(kind), centres / len(clip[0])), kind, centres)


def count_coherent(clips: NDArray[np.uint8]) -> int:
    """How many of the clips uint8 [N, T, H, W, 3] are coherent."""
    return sum(judge(clip).fault is None for clip in clips)


def find_blob(frame: NDArray[np.uint8]) -> Blob | None:
    """The largest lit component of a frame uint8 [H, W, 3]; None if nothing is lit."""
    labels, count = ndimage.label(frame.max(axis=-1) > LIT)
    if not count:
        return None
    mask = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    y, x = (float(axis.mean()) for axis in np.nonzero(mask))
    overlaps = {kind: _overlap(kind, mask, x, y) for kind in COLOURS}
    kind = max(overlaps, key=lambda kind: overlaps[kind])
    return Blob(kind, overlaps[kind], _nearest_colour(frame[mask].mean(axis=0)), (x, y))


def _fault(blobs: list[Blob], same_kind: int, centres: NDArray[np.float64]) -> Fault | None:
    """What is wrong with the blobs of a clip; centres in heights of a frame."""
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    faults: dict[Fault, bool] = {
        "shape": min(blob.overlap for blob in blobs) <= MIN_OVERLAP,
        "colour": len({blob.colour for blob in blobs}) > 1,
        "kind": same_kind < MIN_SHARE_OF_KIND * len(blobs),
        "jump": steps.max(initial=0) > MAX_STEP,
        "still": steps.sum() < MIN_PATH,
    }
    return next((fault for fault, is_there in faults.items() if is_there), None)


def _overlap(kind: Kind, mask: NDArray[np.bool_], x: float, y: float) -> float:
    """Best intersection over union of a mask with shapes of its area about its centre."""
    rows, columns = np.indices(mask.shape, dtype=np.float64)
    radius = float(np.sqrt(mask.sum() / AREAS[kind]))
    best = 0.0
    for scale in (0.93, 1.0, 1.07):
        for dx, dy in np.ndindex(3, 3):
            across, down = columns - x - (dx - 1) / 2, rows - y - (dy - 1) / 2
            shape = signed_distance(kind, across, down, radius=radius * scale) < 0
            best = max(best, (shape & mask).sum() / (shape | mask).sum())
    return best


def _nearest_colour(colour: NDArray[np.float64]) -> Kind:
    """The kind whose colour has the most similar hue, whatever its brightness."""
    hues = {kind: np.array(of) / np.linalg.norm(of) for kind, of in COLOURS.items()}
    return max(hues, key=lambda kind: float(hues[kind] @ colour))
