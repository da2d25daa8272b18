import dataclasses
import inspect
import pydoc
import re
from typing import Literal

import numpy as np
import pytest
import yaml

import fastvd
from fastvd import config


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Circle:
    kind: Literal["circle"] = "circle"
    """Which shape."""

    radius: float = 1.0
    """Radius in
    pixels."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    kind: Literal["box"] = "box"
    sides: tuple[int, int] = (1, 2)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    shape: Circle | Box = Circle()
    size: int | tuple[int, int] = 64
    fps: float | None = None
    name: str = "a: b"
    loss: Literal["l1", "l2"] = "l2"
    widths: tuple[int, ...] = (1, 2)
    options: dict[str, float] = dataclasses.field(default_factory=dict)
    is_grey: bool = False

    def __post_init__(self) -> None:
        if self.fps is not None and self.fps <= 0:
            raise ValueError(f"fps must be above 0, got {self.fps}")


PICTURES = {
    "defaults": Picture(),
    "all set": Picture(
        shape=Box(sides=(3, 4)),
        size=(5, 6),
        fps=1e-5,
        name="x#y",
        loss="l1",
        widths=(),
        options={"a": 1.5},
        is_grey=True,
    ),
}


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES.keys())
def test_saved_config_reads_back_equal(picture, tmp_path):
    config.save_config(tmp_path / "c.yaml", picture)
    assert config.load_config(tmp_path / "c.yaml", Picture) == picture


def test_yaml_carries_the_help_of_each_field():
    assert "  # Radius in pixels.\n  radius: 1.0\n" in config.to_yaml(Picture())


BAD = {
    "misspelt key": ({"nmae": "x"}, "nmae: no such key, did you mean name?"),
    "misspelt nested key": (
        {"shape": {"kind": "circle", "radus": 1}},
        "shape.radus: no such key, did you mean radius?",
    ),
    "unknown kind": ({"shape": {"kind": "star"}}, "shape.kind: 'star' is none of circle, box"),
    "no kind": ({"shape": {"radius": 1.0}}, "shape.kind: None is none of circle, box"),
    "choice": ({"loss": "l3"}, "loss: 'l3' is none of l1, l2"),
    "text for a number": ({"fps": "fast"}, "fps: expected float, got 'fast'"),
    "number for a flag": ({"is_grey": 1}, "is_grey: expected bool, got 1"),
    "flag for a number": ({"size": True}, "size: expected int or a list, got True"),
    "wrong length": ({"shape": {"kind": "box", "sides": [1]}}, "expected 2 values, got [1]"),
    "item": ({"widths": [1, "a"]}, "widths[1]: expected int, got 'a'"),
    "range": ({"fps": -1.0}, "fps must be above 0, got -1.0"),
    "not a section": ({"shape": 3}, "shape: expected Circle or Box"),
}


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD.keys())
def test_bad_config_names_the_key(data, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        config.from_dict(Picture, data)


def test_bad_file_is_named(tmp_path):
    path = tmp_path / "c.yaml"
    for text in ("a: [1", "- 1", "fps: no"):
        path.write_text(text)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            config.load_config(path, Picture)


def test_file_from_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("format: 99\nfps: 1.0\n")
    with pytest.raises(ValueError, match="format 99 is newer than 1"):
        config.load_config(path, Picture)


def test_number_without_a_dot_is_read_as_float():
    data = yaml.safe_load("fps: 1e-4")
    assert config.from_dict(Picture, data).fps == 1e-4


def test_override_reaches_into_sections():
    data = {"shape": {"kind": "circle"}, "fps": None}
    data = config.override(data, "shape.radius", 3.0)
    assert config.from_dict(Picture, data).shape == Circle(radius=3.0)
    with pytest.raises(ValueError, match="fps is 5, not a section"):
        config.override({"fps": 5}, "fps.x", 1)


FIELDS = {
    "text for a number": (fastvd.VideoUNetConfig, {"dim": "64"}, "dim must be a whole number"),
    "share of a number": (fastvd.VideoUNetConfig, {"dim": 64.0}, "dim must be a whole number"),
    "none": (fastvd.ProcessConfig, {"eta": None}, "eta must be a number, got None"),
    "flag": (fastvd.ColdConfig, {"clip_sample": "no"}, "clip_sample must be True or False, got"),
    "number for many": (
        fastvd.VideoUNetConfig,
        {"mults": 2},
        "mults must be a tuple or a list, got 2",
    ),
    "flag for a number": (fastvd.OptimConfig, {"lr": True}, "lr must be a number, got True"),
    "number for a flag": (
        fastvd.ColdConfig,
        {"clip_sample": 1},
        "clip_sample must be True or False",
    ),
    "item": (fastvd.VideoUNetConfig, {"mults": (1, "2")}, "each of mults must be a whole number"),
    "value": (fastvd.OptimConfig, {"lr_factors": {"a": "b"}}, r"lr_factors\['a'\] must be a num"),
    "part": (fastvd.ProcessConfig, {"scheduler_options": [1]}, "scheduler_options must be a Map"),
    "option": (fastvd.ProcessConfig, {"scheduler_options": {"a": []}}, "must be bool or int or"),
}


@pytest.mark.parametrize(("cls", "fields", "message"), FIELDS.values(), ids=FIELDS)
def test_a_field_of_another_kind_is_named(cls, fields, message):
    with pytest.raises(TypeError, match=message):
        cls(**fields)


def test_numbers_of_numpy_and_lists_are_kept_as_those_of_python(tmp_path):
    optim = fastvd.OptimConfig(lr=np.float32(0.5), betas=[np.float64(0.9), 0.5])
    given = fastvd.VideoUNetConfig(dim=np.int64(32), mults=[1, 2, 4, np.int32(8)], tanh=np.True_)
    assert [type(x) for x in (optim.lr, given.dim, given.tanh)] == [float, int, bool]
    assert optim.betas == (0.9, 0.5)
    assert given == fastvd.VideoUNetConfig(dim=32, mults=(1, 2, 4, 8), tanh=True)
    config.save_config(tmp_path / "c.yaml", given)
    assert config.load_config(tmp_path / "c.yaml", fastvd.VideoUNetConfig) == given
    clips = fastvd.ClipConfig(frames=np.int64(9), fps=np.float32(8), grey=np.True_)
    assert [type(x) for x in (clips.frames, clips.fps, clips.grey)] == [int, float, bool]


def test_a_field_that_is_no_number_and_a_choice_that_there_is_not_are_named():
    for cls, fields, message in (
        (fastvd.OptimConfig, {"lr": float("nan")}, "lr must be a number, got nan"),
        (fastvd.OptimConfig, {"name": "sgd"}, "name must be one of adamw, muon, got 'sgd'"),
        (fastvd.OptimConfig, {"betas": (0.9,)}, r"betas must be 2 values, got \(0.9,\)"),
        (fastvd.AugmentConfig, {"crop": (0.5,)}, r"crop must be 2 values, got \(0.5,\)"),
        (fastvd.ProcessConfig, {"kind": "cold"}, "kind must be one of gaussian, got 'cold'"),
    ):
        with pytest.raises(ValueError, match=message):
            cls(**fields)


def test_numbers_of_numpy_are_numbers():
    two = np.int64(2)
    network = fastvd.VideoUNetConfig(dim=16 * two, heads=two, tanh=np.bool_(True))
    assert network.widths()[0] == 32
    assert fastvd.OptimConfig(lr=np.float32(0.5)).lr == 0.5


CONFIGS = [
    "AugmentConfig",
    "ClipConfig",
    "ColdConfig",
    "EmaConfig",
    "Limits",
    "OptimConfig",
    "ProcessConfig",
    "TrainConfig",
    "VideoUNetConfig",
]


@pytest.mark.parametrize("name", CONFIGS)
def test_help_tells_every_field(name):
    cls = getattr(fastvd, name)
    page = pydoc.plaintext.document(cls)
    assert inspect.getdoc(cls).startswith(inspect.getsource(cls).split('"""')[1])
    for field, text in config.help_texts(cls).items():
        assert f"{field}: {text}" in " ".join(page.replace("|", " ").split())
    assert config.help_texts(cls).keys() == {field.name for field in dataclasses.fields(cls)}
