"""A picture of the record: how many times faster than the best peer, case by case."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

ROW_INCHES = 0.19


def draw(results: Path) -> Path | None:
    """Write the plot of a device's record beside it."""
    records = [r for r in json.loads(results.read_text()) if r["suite"] == "media" and r["ratio"]]
    if not records:
        return None
    figure = Figure(figsize=(8, 1 + ROW_INCHES * len(records)), layout="constrained")
    axes = figure.subplots()
    rows = range(len(records))
    ratios = [r["ratio"] for r in records]
    colors = ["tab:green" if r["ratio"] >= r["must"] else "tab:red" for r in records]
    axes.barh(rows, ratios, color=colors, height=0.7)
    axes.plot([r["must"] for r in records], rows, "k|", label="must")
    axes.plot([r["aim"] for r in records], rows, "|", color="grey", label="aim")
    for row, record in zip(rows, records, strict=True):
        words = f"  {record['ratio']:g}x {record['best_peer']}"
        axes.text(max(record["ratio"], record["aim"]), row, words, va="center")
    axes.set_yticks(rows, [r["case"] for r in records])
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel(f"times faster than the best peer, {records[0]['device']}")
    figure.legend(loc="outside lower right", ncols=2)
    _shrink(axes)
    # room for the words behind the longest bar
    axes.set_xlim(0, 1.3 * max(max(r["ratio"], r["aim"]) for r in records))
    path = results.with_name(f"{results.stem}-media.png")
    _save(figure, path)
    return path


def _save(figure: Figure, path: Path) -> None:
    # 32 colours are enough, and a third of the bytes
    whole = BytesIO()
    figure.savefig(whole, dpi=80)
    Image.open(whole).convert("RGB").quantize(32).save(path, optimize=True)


def _shrink(axes: Any) -> None:
    for text in [*axes.texts, *axes.get_yticklabels()]:
        text.set_fontsize(7)
    axes.margins(y=0.01)
