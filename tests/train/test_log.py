"""The log is whole lines, goes on where the run goes on, and outlives a full disk."""

import io
import json
import os

import pytest
from rich.console import Console

from fastvd.train.log import RunLog, RunProgress, read_log


def _write(run_dir, steps, *, after=-1):
    log = RunLog(run_dir, step=after)
    for step in steps:
        log.write({"step": step, "loss": step / 3, "note": "x"})
    log.close()


def test_lines_read_back_equal(tmp_path):
    _write(tmp_path, [1, 2])
    assert read_log(tmp_path) == [{"step": s, "loss": s / 3, "note": "x"} for s in (1, 2)]


def test_going_on_drops_what_was_written_after_the_checkpoint(tmp_path):
    _write(tmp_path, [1, 2, 3, 4, 5])
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    _write(tmp_path, [4, 5], after=3)
    assert [record["step"] for record in read_log(tmp_path)] == [1, 2, 3, 4, 5]
    _write(tmp_path, [])
    assert read_log(tmp_path) == []


def test_each_line_is_json_at_once(tmp_path):
    log = RunLog(tmp_path, step=-1)
    log.write({"step": 1, "loss": None})
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"step": 1, "loss": None}
    log.close()


def test_full_disk_costs_lines_and_one_warning(tmp_path, caplog):
    log = RunLog(tmp_path, step=-1)
    log._file.close()
    log._file = open("/dev/full", "w")  # noqa: PTH123, SIM115
    log.write({"step": 1})
    log.write({"step": 2})
    log.close()
    assert caplog.text.count("LOG LINES ARE LOST: [Errno 28]") == 2


def test_tensorboard_gets_the_numbers(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    _write(tmp_path, [1, 2])
    events = accumulator.EventAccumulator(os.fspath(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["scalars"] == ["loss"]
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [
        (1, pytest.approx(1 / 3)),
        (2, pytest.approx(2 / 3)),
    ]


def test_plain_lines_tell_loss_rate_and_time_left():
    out = io.StringIO()
    with RunProgress(steps=10, step=8, console=Console(file=out)) as progress:
        progress.show(9, loss=0.5, step_s=2.0, clips=8)
        progress.show(10, loss=0.5, step_s=2.0, clips=8)
    assert out.getvalue() == "step 10/10  loss 0.5  4 clips/s  ETA 0:00:00\n"


def test_terminal_shows_a_bar():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with RunProgress(steps=10, step=0, console=console) as progress:
        progress.show(5, loss=0.25, step_s=2.0, clips=8)
    assert "loss 0.25  4 clips/s  ETA 0:00:10" in out.getvalue()
