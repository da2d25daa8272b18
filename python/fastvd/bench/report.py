"""Rows as a table and as a picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from fastvd.bench.measure import Row
from fastvd.kernels.conv_choice import Implementation

PLAIN = ("eager", "compiled")


def table(rows: list[Row]) -> Iterator[str]:
    """Lines of a table, one an op, shape and mode."""
    yield f"{'op':20}{'B T H W C':>22}  {'mode':9}{'eager':>10}{'compiled':>10}{'fused':>10}  gain"
    groups: dict[tuple[str, tuple[int, ...], str], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault((row.op, row.shape, row.mode), {})[row.provider] = row
    for (op, shape, mode), found in groups.items():
        times = "".join(
            f"{found[name].milliseconds:>8.3f}ms" if name in found else f"{'-':>10}"
            for name in ("eager", "compiled", "fused")
        )
        line = f"{op:20}{' '.join(map(str, shape)):>22}  {mode:9}{times}"
        if "fused" in found:
            best = min(row.milliseconds for name, row in found.items() if name in PLAIN)
            fused = found["fused"]
            line += f"  {best / fused.milliseconds:.2f}x"
            if fused.copy_rate is not None:
                line += f", {fused.copy_rate:.0%} of the copy rate"
        yield line
        choice = [row for name, row in found.items() if name in get_args(Implementation)]
        if choice:
            times = ", ".join(f"{row.provider} {row.milliseconds:.3f}ms" for row in choice)
            quickest = min(choice, key=lambda row: row.milliseconds)
            yield f"{'':20}{'as':>22}  {times}: {quickest.provider} is the quickest"


def plot(rows: list[Row], path: Path) -> None:
    """Draw the times of both passes as bars, a row an op and level, into a PNG."""
    from matplotlib.figure import Figure

    both = [row for row in rows if row.mode in ("both", "step")]
    names = list(dict.fromkeys(row.provider for row in both))
    labels = list(dict.fromkeys((row.op, row.shape) for row in both))
    figure = Figure(figsize=(9, 1 + 0.35 * len(labels)), layout="constrained")
    axes = figure.subplots()
    for i, name in enumerate(names):
        at = {(r.op, r.shape): r.milliseconds for r in both if r.provider == name}
        offset = (i - (len(names) - 1) / 2) * 0.8 / len(names)
        places = [j + offset for j, label in enumerate(labels) if label in at]
        axes.barh(places, list(at.values()), 0.8 / len(names), label=name)
    texts = [f"{op}  {'x'.join(map(str, shape))}" for op, shape in labels]
    axes.set_yticks(range(len(labels)), texts)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("ms, forward and backward, or a step")
    figure.legend(loc="outside upper center", ncols=len(names))
    axes.xaxis.set_minor_formatter("")
    figure.savefig(path, dpi=120)
