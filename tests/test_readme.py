import re
from pathlib import Path

import pytest

import fastvd
from fastvd import cli
from fastvd.data.synthetic import moving_shapes

README = Path(__file__).resolve().parents[1] / "README.md"
COMMANDS = re.findall(r"^\| .*\| `fastvd (.*)` \|$", README.read_text(), re.MULTILINE)
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def user_folder(tmp_path_factory):
    """A folder as the README's reader has it: videos and two short runs."""
    folder = tmp_path_factory.mktemp("readme")
    clips = moving_shapes(4, frames=40, size=32, seed=0)
    (folder / "videos").mkdir()
    for i, clip in enumerate(clips):
        fastvd.write_video(folder / "videos" / f"{i}.mp4", clip, fps=10)
    fastvd.write_video(folder / "video.mp4", clips[0], fps=10)
    return folder


def test_examples_run_in_order(user_folder, monkeypatch):
    monkeypatch.chdir(user_folder)
    monkeypatch.syspath_prepend(str(user_folder))
    interpolator = ["--config", "tiny_interpolator", "--run_dir", "runs/interpolator"]
    short = ["--steps", "2", "--batch_size", "2"]
    assert cli.main(["train", *interpolator, "--videos", "videos", *short]) == 0
    assert len(EXAMPLES) > 4
    for example in EXAMPLES:
        exec(compile(example, "README.md", "exec"), {})
    assert Path("sample.gif").stat().st_size > 0
