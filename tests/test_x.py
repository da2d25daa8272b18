"""x.py counts tests, names causes in one line, and does again only what has changed."""

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[1] / "x.py"


@pytest.fixture
def x(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("x", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path)
    return module


def printing(*lines: str, status: int = 0) -> list[str]:
    return [sys.executable, "-c", f"print({chr(10).join(lines)!r}); raise SystemExit({status})"]


def test_counts_of_both_runners_are_added(x, capsys):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    cargo = "test result: ok. 9 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out"
    assert x.counted(printing(cargo, cargo), counts) == 0
    assert x.counted(printing("1 failed, 20 passed, 2 skipped, 1 error in 3.1s"), counts) == 0
    assert counts == {"passed": 38, "failed": 2, "skipped": 4}


def test_failing_runner_without_counts_is_a_failure(x):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    assert x.counted(printing("error: could not compile", status=101), counts) == 101


CAUSES = {
    "No space left on device (os error 28)": "the disk is full",
    "error: linker `cc` not found": "there is no C linker",
    "error sending request for url": "can't be reached",
    "dns error: failed to lookup address": "can't be reached",
}


@pytest.mark.parametrize(("output", "cause"), CAUSES.items(), ids=CAUSES.values())
def test_known_cause_is_one_line(x, capsys, output, cause):
    with pytest.raises(SystemExit, match=cause):
        x.run(printing(output, status=1), "installing")
    assert capsys.readouterr().err == ""


def test_unknown_cause_shows_the_output(x, capsys):
    with pytest.raises(SystemExit, match="installing failed: see above"):
        x.run(printing("strange", status=1), "installing")
    assert "strange" in capsys.readouterr().err


def test_progress_of_cargo_is_passed_on_as_it_comes(x, tmp_path):
    lines = ["   Compiling one v0.1.0", "warning: noise", "    Finished `release` profile"]
    held = tmp_path / "held"
    # the command ends only when its first line was passed on
    script = f"""import pathlib, sys, time
print({lines[0]!r}, file=sys.stderr, flush=True)
while not pathlib.Path({str(held)!r}).exists(): time.sleep(0.01)
print({chr(10).join(lines[1:])!r})"""
    seen = []

    def write(text, **_):
        seen.append(text)
        held.touch()

    x.print = write
    assert x.run([sys.executable, "-c", script], "building", shown=x.CARGO_PROGRESS)
    assert [line.strip() for line in seen] == [lines[0].strip(), lines[2].strip()]


def test_missing_linker_may_be_done_without(x):
    assert not x.run(printing("linker `cc` not found", status=1), "building", may_fail="there is")


def test_step_is_done_again_only_for_other_inputs(x):
    done = []
    for wanted in ("a", "a", "b"):
        x.once("packages", wanted, lambda: done.append(1))
    assert len(done) == 2


def test_other_kind_of_install_forgets_the_first(x):
    done = []
    for name in ("rust", "no-rust", "rust"):
        x.once(name, "a", lambda: done.append(1))
    assert len(done) == 3


def test_wheel_takes_rust(x):
    with pytest.raises(SystemExit, match="a wheel takes a Rust compiler and a C linker"):
        x.build_wheel(has_rust=False)
