import dataclasses

import numpy as np
import pytest

from fastvd.data.augment import augmented, whole
from fastvd.data.clips import ClipDataset
from fastvd.data.config import AugmentConfig, ClipConfig
from fastvd.data.loader import ClipLoader

CLIP = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)


def vary(index: int, size: int = 16, **changes) -> np.ndarray:
    return augmented(CLIP, AugmentConfig(**changes), size=size, seed=5, counters=(0, index, 0))


def test_nothing_changes_by_default():
    assert vary(0) is CLIP


def test_flip_mirrors_all_frames_of_about_the_share_of_clips():
    flipped = [np.array_equal(vary(i, flip=0.25), CLIP[:, :, ::-1]) for i in range(400)]
    kept = [np.array_equal(vary(i, flip=0.25), CLIP) for i in range(400)]
    assert [a != b for a, b in zip(flipped, kept, strict=True)] == [True] * 400
    # three standard deviations
    assert abs(sum(flipped) - 100) < 26


def test_crop_without_scale_takes_every_place():
    seen = set()
    for i in range(500):
        clip = vary(i, size=13, crop=(13 / 16, 13 / 16))
        places = [(y, x) for y in range(4) for x in range(4)]
        seen |= {p for p in places if np.array_equal(clip, CLIP[:, p[0] :, p[1] :][:, :13, :13])}
    assert len(seen) == 16


def test_crop_of_any_side_is_brought_to_size():
    clips = [vary(i, size=8, crop=(0.5, 1.0)) for i in range(50)]
    assert {clip.shape for clip in clips} == {(3, 8, 8, 3)}
    assert len({clip.tobytes() for clip in clips}) > 30
    grey = augmented(
        CLIP[..., :1], AugmentConfig(crop=(0.5, 0.5)), size=8, seed=5, counters=(0, 1, 0)
    )
    assert grey.shape == (3, 8, 8, 1)


def test_brightness_contrast_and_saturation_by_hand():
    flat = np.zeros((1, 2, 2, 3), np.uint8)
    flat[...] = [60, 100, 140]
    for name in ("brightness", "contrast", "saturation"):
        config = AugmentConfig(**{name: 0.5})
        factors = []
        for i in range(40):
            out = augmented(flat, config, size=2, seed=1, counters=(0, i, 0))
            low, high = int(out[0, 0, 0, 0]), int(out[0, 0, 0, 2])
            factors.append((high - low) / 80)
            # luma of BT.601 of 60, 100, 140 is 93
            centre = 0.0 if name == "brightness" else 93.0
            assert abs(low - (centre + factors[-1] * (60 - centre))) <= 1.5
        assert min(factors) < 0.65
        assert max(factors) > 1.35
        assert all(0.48 <= factor <= 1.52 for factor in factors)


def test_each_change_has_draws_of_its_own():
    for i in range(20):
        both = vary(i, flip=0.5, brightness=0.3)
        bright = vary(i, brightness=0.3)
        is_flipped = not np.array_equal(vary(i, flip=0.5), CLIP)
        assert np.array_equal(both, bright[:, :, ::-1] if is_flipped else bright)


def test_whole_is_the_centre_of_nothing():
    assert whole(CLIP, size=16) is CLIP
    assert whole(CLIP, size=8).shape == (3, 8, 8, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flip", 1.5),
        ("crop", (0.0, 1.0)),
        ("crop", (0.9, 0.8)),
        ("crop", (0.5, 1.1)),
        ("brightness", -0.1),
        ("contrast", 2.0),
        ("saturation", float("nan")),
    ],
)
def test_bad_changes_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        AugmentConfig(**{name: value})


@pytest.mark.parametrize("cache", [None, "memory"])
@pytest.mark.parametrize("workers", [0, 3])
def test_changes_depend_on_seed_epoch_and_index_alone(folder, cache, workers):
    augment = AugmentConfig(flip=0.5, crop=(0.6, 1.0), brightness=0.2, contrast=0.2, saturation=0.2)
    config = ClipConfig(frames=3, size=8, augment=augment)
    plain = ClipDataset(folder, config, seed=2)
    wanted = [plain.clip(1, i).clip for i in range(len(plain))]
    clips = ClipDataset(folder, config, seed=2, cache=cache)
    clips.set_epoch(1)
    loader = ClipLoader(clips, batch_size=2, workers=workers, output="numpy")
    for batch in loader:
        for j in range(2):
            assert np.array_equal(batch.clip[j], wanted[2 * batch.number + j])
    bare = ClipDataset(folder, dataclasses.replace(config, augment=AugmentConfig()), seed=2)
    # where a clip is taken does not depend on how it is varied
    assert [bare.source(1, i) for i in range(len(bare))] == [
        plain.source(1, i) for i in range(len(plain))
    ]
    assert plain.clip(1, 0, augment=False).clip.shape == (3, 8, 8, 3)
