"""What ``fastvd bench`` times and tells; here on a CPU, where plain PyTorch runs alone."""

import pytest
import torch
from PIL import Image

from fastvd import cli, kernels
from fastvd.bench.cases import assert_agreement, cases, formulas, network_case
from fastvd.bench.config import BenchConfig
from fastvd.bench.measure import Row, measure, measure_update
from fastvd.bench.report import plot, table

CPU = torch.device("cpu")
SMALL = BenchConfig(dim=16, mults=(1, 2), batch=1, frames=2, size=8, dtype="float32")


def test_a_networks_pass_is_a_case_as_kernels_are():
    case = network_case(SMALL, CPU)
    assert_agreement(case)
    rows = list(measure(case, rates=1e9, compiled=False))
    assert [(row.op, row.provider, row.mode) for row in rows] == [
        ("VideoUNet", "eager", mode) for mode in ("forward", "backward", "both")
    ]
    assert all(row.milliseconds > 0 and row.copy_rate is None for row in rows)


def test_formulas_replace_every_op_and_come_back():
    before = {name: getattr(kernels, name) for name in kernels.__all__}
    ops = [name for name, op in before.items() if hasattr(op, "__code__") and name.islower()]
    with formulas():
        replaced = {name for name in ops if getattr(kernels, name) is not before[name]}
    assert {"rms_norm_act", "group_norm_act", "conv_norm_act", "conv_pair"} <= replaced
    assert {"linear_attention", "temporal_attention"} <= replaced
    assert all(getattr(kernels, name) is before[name] for name in before)


def test_an_update_is_timed():
    (row,) = measure_update(torch.nn.Linear(8, 8), rates=1e9)
    assert row[:4] == ("AdamWEma", (72,), "eager", "step")
    assert row.milliseconds > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 65}, "frames must be 1..64, got 65"),
        ({"size": 9}, "size must be a multiple of 2 for 2 levels, got 9"),
        ({"dim": 0}, "dim must be at least 1, got 0"),
        ({"mults": (0, 1)}, "mults must be at least 1, got 0"),
        ({"size": -2}, "size must be at least 1, got -2"),
    ],
)
def test_bad_shapes_are_refused_before_anything_is_timed(changes, message):
    with pytest.raises(ValueError, match=message):
        next(cases(BenchConfig(**{"mults": (1, 2), **changes}), CPU))


def rows():
    times = {"eager": 4.0, "compiled": 3.0, "fused": 1.5}
    for provider, ms in times.items():
        yield Row("rms_norm_act", (1, 2, 8, 8, 16), provider, "both", ms, 0.5, 1.0)
        yield Row("VideoUNet", (1, 2, 8, 8, 16), provider, "both", 10 * ms, None, 1.0)
    for provider, ms in (("eager", 1.0), ("fused", 0.25)):
        yield Row("AdamWEma", (72,), provider, "step", ms, 0.8, 0)


def test_the_table_tells_what_is_gained():
    lines = list(table(list(rows())))
    assert any("rms_norm_act" in line and "2.00x, 50% of the copy rate" in line for line in lines)
    assert any("VideoUNet" in line and line.endswith("2.00x") for line in lines)
    assert any("AdamWEma" in line and "4.00x, 80%" in line for line in lines)


def test_the_picture_has_a_bar_for_every_row(tmp_path):
    short, long = tmp_path / "short.png", tmp_path / "long.png"
    plot(list(rows()), short)
    plot([row._replace(shape=(i,)) for i in range(5) for row in rows()], long)
    heights = []
    for path in (short, long):
        with Image.open(path) as picture:
            heights.append(picture.height)
    assert 200 < heights[0] < heights[1]


def test_the_command_says_what_it_cannot(capsys):
    words = ["bench", "--dim", "16", "--mults", "1", "--batch", "1", "--frames", "2", "--size", "8"]
    assert cli.main([*words, "--eager_only", "--dtype", "float32"]) == 0
    told = capsys.readouterr().out
    if not torch.cuda.is_available():
        assert "no GPU here: fused kernels do not run, plain PyTorch is timed alone" in told
    assert "temporal_attention" in told
    assert cli.main([*words, "--frames", "70"]) == 2
    assert cli.main([*words, "--plot", "nowhere/times.png"]) == 2
