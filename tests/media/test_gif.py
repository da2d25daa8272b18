"""GIF writing: exact where colours fit, close where not, read alike by three decoders."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastvd.errors import MediaError
from fastvd.media.gif import read_gif, write_gif

pytestmark = pytest.mark.usefixtures("coder")

PALETTES = ["global", "scene", "local"]
DITHERS = ["diffusion", "ordered", "blue_noise", "none"]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("dither", ["diffusion", "blue_noise"])
@pytest.mark.parametrize(
    ("shape", "colours"),
    [((1, 1, 1), 1), ((3, 1, 1), 3), ((1, 5, 7), 2), ((4, 17, 31), 200), ((5, 33, 20), 256)],
    ids=str,
)
def test_clip_of_few_colours_is_kept_exactly(
    tmp_path: Path,
    shape: tuple[int, int, int],
    colours: int,
    dither: str,
    palette: str,
    shown: Callable[[Path], np.ndarray],
    few_colours: Callable[..., np.ndarray],
) -> None:
    clip = few_colours(shape, colours)
    write_gif(tmp_path / "a.gif", clip, fps=10, dither=dither, palette=palette)
    np.testing.assert_array_equal(shown(tmp_path / "a.gif"), clip)


def test_each_frame_may_have_256_colours_of_its_own(
    tmp_path: Path,
    shown: Callable[[Path], np.ndarray],
    few_colours: Callable[..., np.ndarray],
) -> None:
    clip = np.concatenate([few_colours((1, 32, 33), 256, seed=seed) for seed in range(3)])
    write_gif(tmp_path / "a.gif", clip, fps=10, palette="local")
    np.testing.assert_array_equal(shown(tmp_path / "a.gif"), clip)


def test_static_clip_keeps_every_frame(
    tmp_path: Path,
    shown: Callable[[Path], np.ndarray],
    few_colours: Callable[..., np.ndarray],
) -> None:
    clip = np.repeat(few_colours((1, 9, 8), 20), 5, axis=0)
    write_gif(tmp_path / "a.gif", clip, fps=10)
    np.testing.assert_array_equal(shown(tmp_path / "a.gif"), clip)


def test_grey_ramp_is_kept_exactly(
    tmp_path: Path,
    shown: Callable[[Path], np.ndarray],
) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    clip = np.concatenate([ramp, ramp[:, ::-1], ramp // 2, 255 - ramp // 2])
    for palette in PALETTES:
        write_gif(tmp_path / "a.gif", clip, fps=10, palette=palette)
        np.testing.assert_array_equal(shown(tmp_path / "a.gif"), np.repeat(clip, 3, axis=-1))


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("colours", [40, 255, 3000])
def test_alpha_is_cut_at_one_half(
    tmp_path: Path,
    palette: str,
    colours: int,
    shown: Callable[[Path], np.ndarray],
    few_colours: Callable[..., np.ndarray],
) -> None:
    clip = few_colours((4, 30, 40), colours, channels=4)
    clip[2, 5:20] = 0  # what was opaque becomes transparent
    write_gif(tmp_path / "a.gif", clip, fps=10, palette=palette)
    frames = shown(tmp_path / "a.gif")
    is_clear = clip[..., 3] < 128
    assert (frames[is_clear] == 0).all()
    if colours <= 255:
        np.testing.assert_array_equal(frames[~is_clear], clip[~is_clear][:, :3])
    with Image.open(tmp_path / "a.gif") as image:
        for i, clear in enumerate(is_clear):
            image.seek(i)
            alpha = np.asarray(image.convert("RGBA"))[..., 3]
            np.testing.assert_array_equal(alpha == 0, clear)


def test_wholly_transparent_clip(
    tmp_path: Path,
    shown: Callable[[Path], np.ndarray],
) -> None:
    write_gif(tmp_path / "a.gif", np.zeros((2, 3, 4, 4), np.uint8), fps=10)
    assert (shown(tmp_path / "a.gif") == 0).all()


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("dither", DITHERS)
def test_natural_video_stays_close(
    tmp_path: Path,
    coder: str,
    real_frames: np.ndarray,
    dither: str,
    palette: str,
    shown: Callable[[Path], np.ndarray],
) -> None:
    write_gif(tmp_path / "a.gif", real_frames, fps=10, dither=dither, palette=palette)
    # a mask makes more noise for the same mean colour than diffusion does
    floor = 36 if coder == "twin" else 41 if dither in ("ordered", "blue_noise") else 42
    assert psnr(shown(tmp_path / "a.gif"), real_frames) > floor


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("colors", [2, 3, 16, 17, 100, 256])
def test_palette_holds_at_most_colors(
    tmp_path: Path,
    real_frames: np.ndarray,
    colors: int,
    palette: str,
    shown: Callable[[Path], np.ndarray],
) -> None:
    write_gif(tmp_path / "a.gif", real_frames, fps=10, colors=colors, palette=palette)
    for frame in shown(tmp_path / "a.gif")[: None if palette == "global" else 1]:
        assert len(np.unique(frame.reshape(-1, 3), axis=0)) <= colors


def test_dithering_keeps_the_mean_of_a_ramp(
    tmp_path: Path,
) -> None:
    ramp = np.linspace(0, 255, 256).astype(np.uint8)
    clip = np.tile(ramp[None, None, :, None], (1, 64, 1, 3))
    error = {}
    for dither in DITHERS:
        write_gif(tmp_path / "a.gif", clip, fps=10, colors=4, dither=dither)
        blocks = read_gif(tmp_path / "a.gif").frames[0].reshape(8, 8, 32, 8, 3)
        wanted = clip[0].reshape(8, 8, 32, 8, 3)
        error[dither] = np.abs(blocks.mean((1, 3)) - wanted.mean((1, 3))).mean()
    assert max(error[dither] for dither in DITHERS[:3]) < error["none"] / 2


def test_true_and_false_choose_a_dither(
    tmp_path: Path,
    real_frames: np.ndarray,
) -> None:
    cases = [("good", True, "diffusion"), ("good", False, "none"), ("fast", True, "none")]
    for quality, dither, name in cases:
        options = {"fps": 10, "colors": 16, "quality": quality}
        write_gif(tmp_path / "a.gif", real_frames, dither=dither, **options)
        write_gif(tmp_path / "b.gif", real_frames, dither=name, **options)
        assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


def test_quality_changes_how_near_colours_are(
    tmp_path: Path,
    coder: str,
    real_frames: np.ndarray,
) -> None:
    near = {}
    for quality in ("fast", "good", "best"):
        write_gif(tmp_path / "a.gif", real_frames, fps=10, quality=quality, dither=False)
        near[quality] = psnr(read_gif(tmp_path / "a.gif").frames, real_frames)
    if coder == "rust":
        assert near["fast"] < near["best"]
        assert near["good"] < near["best"]


def test_lossy_file_is_smaller_and_still_close(
    tmp_path: Path,
    coder: str,
    real_frames: np.ndarray,
    shown: Callable[[Path], np.ndarray],
) -> None:
    size = {}
    for lossy, floor in ((0, 36), (20, 34), (80, 28)):
        write_gif(tmp_path / "a.gif", real_frames, fps=10, lossy=lossy)
        size[lossy] = (tmp_path / "a.gif").stat().st_size
        assert psnr(shown(tmp_path / "a.gif"), real_frames) > floor
    if coder == "rust":
        assert size[80] < size[20] < size[0]


def test_each_scene_may_have_256_colours_of_its_own(
    tmp_path: Path,
    shown: Callable[[Path], np.ndarray],
) -> None:
    generator = np.random.default_rng(0)
    # 256 reds, then 256 blues
    ramp = generator.integers(0, 256, (6, 40, 50), dtype=np.uint8)
    clip = np.zeros((6, 40, 50, 3), np.uint8)
    clip[:3, ..., 0], clip[3:, ..., 2] = ramp[:3], ramp[3:]
    clip[3:, ..., 0] = 1
    write_gif(tmp_path / "a.gif", clip, fps=10, palette="scene")
    np.testing.assert_array_equal(shown(tmp_path / "a.gif"), clip)


def test_equal_clips_give_equal_bytes(
    tmp_path: Path,
    real_frames: np.ndarray,
) -> None:
    for name in ("a.gif", "b.gif"):
        write_gif(tmp_path / name, real_frames, fps=10)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


@pytest.mark.parametrize(
    ("fps", "wanted"),
    [
        (10, [10, 10, 10, 10, 10, 10]),
        (16, [6, 6, 7, 6, 6, 7]),
        (30, [3, 4, 3, 3, 4, 3]),
        (29.97, [3, 4, 3, 3, 4, 3]),
        (50, [2, 2, 2, 2, 2, 2]),
        (0.5, [200, 200, 200, 200, 200, 200]),
    ],
)
def test_delays_are_spread(
    tmp_path: Path,
    fps: float,
    wanted: list[int],
    few_colours: Callable[..., np.ndarray],
) -> None:
    write_gif(tmp_path / "a.gif", few_colours((6, 2, 2), 4), fps=fps)
    gif = read_gif(tmp_path / "a.gif")
    assert np.rint(gif.delays_s * 100).astype(int).tolist() == wanted
    with Image.open(tmp_path / "a.gif") as image:
        durations = []
        for i in range(6):
            image.seek(i)
            durations.append(image.info["duration"])
    assert durations == [10 * delay for delay in wanted]


def test_delays_come_back(
    tmp_path: Path,
    few_colours: Callable[..., np.ndarray],
) -> None:
    delays = [0.0, 0.05, 0.02, 655.35, 0.07]
    write_gif(tmp_path / "a.gif", few_colours((5, 2, 2), 4), delays_s=delays)
    np.testing.assert_allclose(read_gif(tmp_path / "a.gif").delays_s, delays)


def test_gif_is_written_again_as_it_was_read(
    tmp_path: Path,
    shared_videos: Path,
) -> None:
    old = read_gif(shared_videos / "newtonscradle.gif")
    write_gif(tmp_path / "a.gif", old.frames, delays_s=old.delays_s, loop=old.loop)
    new = read_gif(tmp_path / "a.gif")
    np.testing.assert_array_equal(new.frames, old.frames)
    np.testing.assert_allclose(new.delays_s, old.delays_s)
    assert new.loop == old.loop


@pytest.mark.parametrize("fps", [7, 12.5, 16, 23.976, 33, 48])
def test_total_duration_is_right(
    tmp_path: Path,
    fps: float,
    few_colours: Callable[..., np.ndarray],
) -> None:
    write_gif(tmp_path / "a.gif", few_colours((40, 1, 2), 4), fps=fps)
    delays = read_gif(tmp_path / "a.gif").delays_s
    assert abs(delays.sum() - 40 / fps) <= 0.005 + 1e-9
    assert delays.min() >= 0.02


@pytest.mark.parametrize("loop", [0, 1, 7, 65535, None])
def test_loop_count_comes_back(
    tmp_path: Path,
    loop: int | None,
    few_colours: Callable[..., np.ndarray],
) -> None:
    write_gif(tmp_path / "a.gif", few_colours((2, 2, 2), 4), fps=10, loop=loop)
    assert read_gif(tmp_path / "a.gif").loop == loop
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info.get("loop") == loop


@pytest.mark.parametrize("shape", [(2, 1, 65535), (2, 65535, 1)])
def test_longest_side_is_written(
    tmp_path: Path,
    shape: tuple[int, int, int],
    by_pillow: Callable[[Path], np.ndarray],
    by_ffmpeg: Callable[[Path], np.ndarray],
    few_colours: Callable[..., np.ndarray],
) -> None:
    clip = few_colours(shape, 50)
    write_gif(tmp_path / "a.gif", clip, fps=10)
    np.testing.assert_array_equal(by_pillow(tmp_path / "a.gif"), clip)
    np.testing.assert_array_equal(by_ffmpeg(tmp_path / "a.gif"), clip)
    with pytest.raises(MediaError, match="outside 1x1 to 8192x8192"):
        read_gif(tmp_path / "a.gif")


BAD_ARGUMENTS = {
    "rank": (np.zeros((4, 4, 3), np.uint8), {}, r"got uint8 \[4, 4, 3\]"),
    "dtype": (np.zeros((1, 4, 4, 3), np.float32), {}, r"got float32 \[1, 4, 4, 3\]"),
    "channels": (np.zeros((1, 4, 4, 2), np.uint8), {}, r"C = 1 or 3 or 4, got uint8"),
    "no frames": (np.zeros((0, 4, 4, 3), np.uint8), {}, r"T, H, W >= 1"),
    "no width": (np.zeros((1, 4, 0, 3), np.uint8), {}, r"T, H, W >= 1"),
    "too wide": (np.zeros((1, 1, 65536, 3), np.uint8), {}, "at most 65535"),
    "fps 0": (None, {"fps": 0}, "fps must be a number above 0, got 0"),
    "fps -1": (None, {"fps": -1}, "above 0, got -1"),
    "fps nan": (None, {"fps": float("nan")}, "above 0, got nan"),
    "fps 60": (None, {"fps": 60}, "at most 50 frames a second, got fps=60"),
    "fps tiny": (None, {"fps": 0.001}, "at most 655.35 s"),
    "colors 1": (None, {"colors": 1}, r"colors must be in 2..256, got 1"),
    "colors 257": (None, {"colors": 257}, r"colors must be in 2..256, got 257"),
    "palette": (None, {"palette": "one"}, "global, scene, local, got 'one'"),
    "quality": (None, {"quality": "high"}, "fast, good, best, got 'high'"),
    "dither": (None, {"dither": "bayer"}, "diffusion, ordered, blue_noise, none, got 'bayer'"),
    "lossy": (None, {"lossy": 201}, r"lossy must be in 0..200, got 201"),
    "lossy -1": (None, {"lossy": -1}, r"lossy must be in 0..200, got -1"),
    "fps and delays": (None, {"delays_s": [0.1]}, "either fps or delays_s"),
    "neither": (None, {"fps": None}, "either fps or delays_s"),
    "delays of two": (None, {"fps": None, "delays_s": [0.1, 0.1]}, r"hold 1 numbers, got \[2\]"),
    "delay -1": (None, {"fps": None, "delays_s": [-1.0]}, r"in 0..655.35, got \[-1"),
    "delay nan": (None, {"fps": None, "delays_s": [float("nan")]}, r"got \[nan"),
    "long delay": (None, {"fps": None, "delays_s": [655.36]}, r"in 0..655.35"),
    "loop": (None, {"loop": 65536}, "0..65535, got 65536"),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_bad_argument_is_named(
    tmp_path: Path,
    case: str,
) -> None:
    frames, options, message = BAD_ARGUMENTS[case]
    clip = np.zeros((1, 4, 4, 3), np.uint8) if frames is None else frames
    with pytest.raises(ValueError, match=message):
        write_gif(tmp_path / "a.gif", clip, **{"fps": 10, **options})
    assert list(tmp_path.iterdir()) == []


def test_strided_view_is_written(
    tmp_path: Path,
    few_colours: Callable[..., np.ndarray],
) -> None:
    clip = few_colours((6, 8, 10), 9)[::2, ::-1, 1::3]
    write_gif(tmp_path / "a.gif", clip, fps=10)
    np.testing.assert_array_equal(read_gif(tmp_path / "a.gif").frames, clip)
