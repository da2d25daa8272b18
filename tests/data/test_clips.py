import dataclasses
import pickle
import shutil
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare
from torch.utils.data import DataLoader

from fastvd.data.clips import ClipConfig, ClipDataset
from fastvd.errors import MediaError
from fastvd.limits import Limits, get_limits, set_limits

# ten frames of the counting videos, two apart
CONFIG = ClipConfig(frames=5, stride=2, size=8)


@pytest.fixture
def copied(folder, tmp_path):
    """The folder of videos, free to be damaged."""
    return shutil.copytree(folder, tmp_path / "videos")


def damage(path) -> None:
    """Keep a file's name, lose what it holds."""
    path.write_bytes(b"\0" * path.stat().st_size)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frames", 0),
        ("stride", 0),
        ("stride", -2),
        ("size", 0),
        ("fps", 0.0),
        ("fps", float("nan")),
        ("fps", float("inf")),
        ("fit", "squash"),
        ("resample", "cubic"),
    ],
)
def test_bad_config_is_refused_with_its_value(field, value):
    with pytest.raises(ValueError, match=rf"{field}.*{value}"):
        ClipConfig(**{field: value})


def test_stride_and_fps_exclude_each_other():
    with pytest.raises(ValueError, match="not both"):
        ClipConfig(stride=2, fps=10)


def test_long_videos_give_more_clips(folder):
    # a clip spans 9 frames: 40 hold four of them, 20 hold two, 8 hold none
    dataset = ClipDataset([folder / "2.mp4", folder / "10.mp4"], CONFIG)
    assert len(dataset) == 6
    paths = Counter(dataset.source(3, i).path for i in range(6))
    assert paths == {str(folder / "2.mp4"): 4, str(folder / "10.mp4"): 2}


def test_every_fitting_video_gives_at_least_one_clip(folder):
    dataset = ClipDataset(folder, ClipConfig(frames=7, size=8))
    # 40 // 7 + 20 // 7 + 1
    assert len(dataset) == 8


def test_clip_holds_the_frames_it_names(folder, frame_numbers):
    dataset = ClipDataset(folder, ClipConfig(frames=3, stride=3, size=8))
    for clip, source in dataset:
        assert clip.shape == (3, 8, 8, 3)
        assert clip.dtype == np.uint8
        assert frame_numbers(clip) == [source.start + 3 * k for k in range(3)]


def test_clips_by_time_follow_uneven_frames(tmp_path, encode, counting_frames, frame_numbers):
    # frame i at tick i at first, every second frame missing from tick 10 on
    ticks = [*range(10), *range(10, 40, 2)]
    path = encode(tmp_path / "vfr.mp4", counting_frames(25), times=ticks)
    dataset = ClipDataset(path, ClipConfig(frames=4, fps=12.5, size=8))
    for epoch in range(4):
        for i in range(len(dataset)):
            clip, source = dataset.clip(epoch, i)
            wanted = [ticks[source.start] + 2 * k for k in range(4)]
            nearest = [max(t for t in ticks if t <= tick) for tick in wanted]
            assert source.stride == 0
            assert [ticks[n] for n in frame_numbers(clip)] == nearest


def test_grey_clips_have_one_channel(folder):
    config = ClipConfig(frames=2, size=8, grey=True)
    assert ClipDataset(folder, config)[0].clip.shape == (2, 8, 8, 1)


def test_starts_are_uniform_up_to_the_last_frame(folder):
    dataset = ClipDataset(folder / "10.mp4", CONFIG)
    starts = Counter(dataset.source(e, i).start for e in range(600) for i in range(len(dataset)))
    # 20 frames, a clip spans 9: starts 0..11
    assert sorted(starts) == list(range(12))
    assert chisquare(list(starts.values())).pvalue > 1e-3


def test_clip_is_a_function_of_seed_epoch_and_index(folder):
    config = dataclasses.replace(CONFIG, frames=3)
    first, again = ClipDataset(folder, config, seed=7), ClipDataset(folder, config, seed=7)
    sources = [first.source(2, i) for i in range(len(first))]
    # any order of asking, other epochs in between
    assert [again.source(2, i) for i in reversed(range(len(again)))][::-1] == sources
    again.set_epoch(2)
    assert [again[i].source for i in range(len(again))] == sources
    assert np.array_equal(again[1].clip, first.clip(2, 1).clip)
    assert [first.source(3, i) for i in range(len(first))] != sources
    assert [first.source(2, i, seed=8) for i in range(len(first))] != sources
    other = ClipDataset(folder, config, seed=8)
    assert [other.source(2, i, seed=7) for i in range(len(first))] == sources


def test_place_of_the_folder_does_not_change_the_clips(folder, copied):
    here, there = (
        ClipDataset(folder, CONFIG, on_error="skip"),
        ClipDataset(copied, CONFIG, on_error="skip"),
    )
    for i in range(len(here)):
        assert np.array_equal(here[i].clip, there[i].clip)


def test_index_beyond_the_epoch_is_refused(folder):
    dataset = ClipDataset(folder / "10.mp4", CONFIG)
    with pytest.raises(IndexError, match="clip 2 of an epoch of 2"):
        dataset[2]
    with pytest.raises(ValueError, match="-1"):
        dataset.set_epoch(-1)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_out_of_range_is_refused(folder, seed):
    with pytest.raises(ValueError, match="seed"):
        ClipDataset(folder / "10.mp4", CONFIG, seed=seed)


def test_clip_longer_than_every_video_names_the_longest(folder):
    with pytest.raises(ValueError, match=r"spans 41 frames.*2\.mp4 with 40 frames"):
        ClipDataset(folder, ClipConfig(frames=41), on_error="skip")
    with pytest.raises(ValueError, match=r"spans 2\.00 s .*2\.mp4 with 40 frames in 1\.56 s"):
        ClipDataset(folder, ClipConfig(frames=21, fps=10), on_error="skip")


def test_unusable_file_stops_the_scan_or_is_left_out(copied, caplog):
    (copied / "text.mp4").write_text("not a video")
    with pytest.raises(MediaError, match=r"2 of 4 videos .*text\.mp4: .*still: 8 frames"):
        ClipDataset(copied, CONFIG)
    dataset = ClipDataset(copied, CONFIG, on_error="skip")
    assert len(dataset) == 6
    assert [file.usable for file in dataset.report.files] == [True, True, False, False]
    assert "text.mp4" in caplog.text
    assert "8 frames" in caplog.text


def test_one_folder_is_warned_of_once(copied, caplog):
    (copied / "text.mp4").write_text("not a video")
    options = {"on_error": "skip", "cache": "memory", "cache_bytes": 1}
    for fps in (None, 40):
        for _ in range(3):
            ClipDataset(copied, ClipConfig(frames=5, fps=fps, size=8), **options)
        assert len(caplog.messages) == len(set(caplog.messages))
    assert sum("text.mp4" in text for text in caplog.messages) == 1
    assert sum("repeat frames" in text for text in caplog.messages) == 1
    assert sum("cache_bytes=1" in text for text in caplog.messages) == 1
    (copied / "more.mp4").write_text("not a video")
    ClipDataset(copied, CONFIG, on_error="skip")
    assert sum("more.mp4" in text for text in caplog.messages) == 1


def test_nothing_usable_is_an_error(tmp_path):
    for name in ("a.mp4", "b.mkv"):
        (tmp_path / name).write_text("not a video")
    with pytest.raises(MediaError, match=r"no video can be read: .*a\.mp4.*b\.mkv"):
        ClipDataset(tmp_path, CONFIG, on_error="skip")


def test_file_that_breaks_later_raises_with_its_name(copied):
    dataset = ClipDataset(copied / "10.mp4", CONFIG)
    damage(copied / "10.mp4")
    with pytest.raises(MediaError, match=r"10\.mp4") as raised:
        dataset[0]
    assert "clip 0 of epoch 0" in raised.value.__notes__[0]


def test_file_that_vanishes_raises_with_its_name(copied):
    dataset = ClipDataset(copied / "10.mp4", CONFIG)
    (copied / "10.mp4").unlink()
    with pytest.raises(FileNotFoundError, match=r"10\.mp4"):
        dataset[0]


def test_lost_clips_are_replaced_the_same_way_each_time(copied, caplog):
    dataset = ClipDataset(copied, CONFIG, on_error="replace")
    again = ClipDataset(copied, CONFIG, on_error="replace")
    whole = [dataset[i] for i in range(len(dataset))]
    assert dataset.errors == []
    damage(copied / "10.mp4")
    caplog.clear()
    replaced = [dataset[i] for i in range(len(dataset))]
    assert {clip.source.path for clip in replaced} == {str(copied / "2.mp4")}
    # clips of the sound file stay what they were
    bad = [i for i, clip in enumerate(whole) if clip.source.path.endswith("10.mp4")]
    for i in set(range(len(dataset))) - set(bad):
        assert replaced[i].source == whole[i].source
    assert {error.index for error in dataset.errors} == set(bad)
    assert dataset.errors[0].source == whole[dataset.errors[0].index].source
    assert "10.mp4" in dataset.errors[0].reason
    # one line for the file, not one for each clip
    assert caplog.text.count("10.mp4") == 1
    backwards = [again[i].source for i in reversed(range(len(again)))]
    assert backwards[::-1] == [clip.source for clip in replaced]


def test_replacing_ends_when_nothing_can_be_read(copied):
    dataset = ClipDataset(copied / "10.mp4", CONFIG, on_error="replace", max_bad=1.0)
    damage(copied / "10.mp4")
    with pytest.raises(MediaError, match="16 choices in a row"):
        dataset[0]
    assert len(dataset.errors) == 16


def test_slow_videos_at_a_higher_rate_are_told(folder, caplog):
    ClipDataset(folder / "2.mp4", ClipConfig(frames=4, fps=25))
    assert caplog.text == ""
    ClipDataset(folder / "2.mp4", ClipConfig(frames=4, fps=30))
    assert "repeat" in caplog.text
    assert "2.mp4" in caplog.text


@pytest.mark.parametrize("config", [CONFIG, ClipConfig(frames=5, fps=10, size=8, grey=True)])
def test_cached_clips_equal_read_ones(folder, config):
    plain = ClipDataset(folder, config, on_error="skip")
    # room for 2.mp4 alone, then for all
    for cache_bytes in (40 * 8 * 8 * config.channels, 10**6):
        cached = ClipDataset(
            folder, config, on_error="skip", cache="memory", cache_bytes=cache_bytes
        )
        for i in range(len(plain)):
            assert cached[i].source == plain[i].source
            assert np.array_equal(cached[i].clip, plain[i].clip)


def test_cached_clips_are_the_caller_s_own(folder):
    dataset = ClipDataset(folder / "10.mp4", CONFIG, cache="memory")
    before = dataset[0].clip.copy()
    dataset[0].clip[:] = 0
    assert np.array_equal(dataset[0].clip, before)


def test_dataset_survives_pickling(folder):
    dataset = ClipDataset(folder, CONFIG, seed=3, on_error="skip", cache="memory")
    before = dataset[0]
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy[0].source == before.source
    assert np.array_equal(copy[0].clip, before.clip)


@pytest.mark.parametrize(("workers", "start_method"), [(0, None), (2, "fork"), (1, "spawn")])
@pytest.mark.parametrize("cache", [None, "memory", "folder"])
# forking a process that runs threads warns; the children read files only
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_torch_data_loader(folder, tmp_path, workers, start_method, cache):
    place = tmp_path if cache == "folder" else cache
    dataset = ClipDataset(folder, CONFIG, on_error="skip", cache=place)
    loader = DataLoader(
        dataset, batch_size=3, num_workers=workers, multiprocessing_context=start_method
    )
    batches = list(loader)
    assert len(batches) == 2
    for b, batch in enumerate(batches):
        assert batch.clip.shape == (3, 5, 8, 8, 3)
        for j in range(3):
            alone = dataset[3 * b + j]
            assert np.array_equal(batch.clip[j].numpy(), alone.clip)
            assert batch.source.path[j] == alone.source.path
            assert int(batch.source.start[j]) == alone.source.start


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_worker_processes_have_the_limits_of_the_caller(folder, start_method):
    dataset = ClipDataset(folder, CONFIG, on_error="skip")
    loader = DataLoader(dataset, num_workers=1, multiprocessing_context=start_method)
    set_limits(Limits(max_pixels=100))
    with pytest.raises(MediaError, match="or above 100 pixels"):
        list(loader)


def test_copy_of_a_dataset_leaves_the_limits_as_they_are(folder):
    dataset = ClipDataset(folder, CONFIG, on_error="skip")
    pickled = pickle.dumps(dataset)
    set_limits(Limits(max_frames=1000))
    pickle.loads(pickled)
    assert get_limits() == Limits(max_frames=1000)


def test_real_videos(shared_videos):
    config = ClipConfig(frames=16, stride=2, size=16)
    dataset = ClipDataset(shared_videos, config, on_error="skip")
    unusable = {file.path.rsplit("/", 1)[1]: file.reason for file in dataset.report.unusable}
    short = ["h265_video.mp4", "moving-mnist.gif", "bt709_full_range.mp4", "h265_10bits.mp4"]
    assert set(unusable) == {*short, "rotate_90.mov", "rotate_180.mov", "unordered.mov"}
    assert unusable["rotate_90.mov"] == "3 frames, a clip spans 31 frames"
    assert [name.rsplit("/", 1)[1] for name in dataset.report.ignored] == ["README.md"]
    assert dataset[0].clip.shape == (16, 16, 16, 3)
