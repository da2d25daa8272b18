"""What a run tells: JSON lines always, TensorBoard when installed, progress on the terminal."""

import datetime
import importlib.util
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

# seconds from one plain line to the next
_PLAIN_EVERY_S = 10.0
# weight of the newest step in the averages that are shown
_SMOOTHING = 0.05

_log = logging.getLogger(__name__)

Record = Mapping[str, float | int | str | None]


def read_log(run_dir: Path | str) -> list[dict[str, Any]]:
    """Return the records of a run's log.jsonl, oldest first; a torn last line is left out."""
    path = Path(run_dir) / "log.jsonl"
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


class RunLog:
    """Appends records to ``run_dir/log.jsonl``; what an earlier run wrote after ``step`` goes."""

    def __init__(self, run_dir: Path, *, step: int) -> None:
        kept = [record for record in read_log(run_dir) if record["step"] <= step]
        tmp = run_dir / "log.jsonl.tmp"
        tmp.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        tmp.replace(run_dir / "log.jsonl")
        self._file = (run_dir / "log.jsonl").open("a", encoding="utf-8")
        self._board = _tensorboard(run_dir, step)
        self._is_broken = False

    def write(self, record: Record) -> None:
        """Write one record; ``step`` is its first key. A full disk costs lines, not the run."""
        try:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        except OSError as error:
            if not self._is_broken:
                _log.warning("LOG LINES ARE LOST: %s", error)
            self._is_broken = True
        if self._board is not None:
            for name, value in record.items():
                if name != "step" and isinstance(value, float | int):
                    self._board.add_scalar(name, value, record["step"])

    def close(self) -> None:
        """Close the files."""
        try:
            self._file.close()
        except OSError as error:
            _log.warning("LOG LINES ARE LOST: %s", error)
        if self._board is not None:
            self._board.close()


class RunProgress:
    """A bar with loss, clips/s and time left on a terminal, else a plain line now and then."""

    def __init__(self, *, steps: int, step: int, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._steps = steps
        self._loss: float | None = None
        self._step_s: float | None = None
        self._shown_at = time.monotonic()
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("step"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=steps, completed=step, status="")

    def __enter__(self) -> "RunProgress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, step: int, *, loss: float | None, step_s: float, clips: int) -> None:
        """Show that ``step`` steps are done, the last with ``clips`` clips in ``step_s`` seconds.

        ``loss`` is None for a step that was skipped.
        """
        self._step_s = _smooth(self._step_s, step_s)
        if loss is not None:
            self._loss = _smooth(self._loss, loss)
        left = datetime.timedelta(seconds=round((self._steps - step) * self._step_s))
        shown_loss = "-" if self._loss is None else f"{self._loss:.4g}"
        rate = clips / max(self._step_s, 1e-9)
        status = f"loss {shown_loss}  {rate:.3g} clips/s  ETA {left}"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, status=status)
        elif step == self._steps or time.monotonic() - self._shown_at >= _PLAIN_EVERY_S:
            self._shown_at = time.monotonic()
            self.say(f"step {step}/{self._steps}  {status}")

    def say(self, text: str) -> None:
        """Print a line; on a terminal above the bar."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _smooth(average: float | None, value: float) -> float:
    return value if average is None else average + _SMOOTHING * (value - average)


def _tensorboard(run_dir: Path, step: int) -> Any:
    """Return a SummaryWriter, None where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    # TensorBoard hides what an earlier run wrote from this step on
    return SummaryWriter(os.fspath(run_dir / "tensorboard"), purge_step=step + 1)
