"""Curves of a training, drawn from the rows of metrics.csv."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trainworks.models.colors import hex_color

COLORS = [hex_color(number) for number in (5, 1, 3, 7, 6, 2)]
MAX_PANELS, NUM_COLUMNS = 12, 3


def draw_curves(rows: Sequence[Mapping[str, Any]], left_out: Sequence[str], monitor: str | None, best: Any) -> Figure:
    """Return a panel for each metric, with a line for each of its stages, and a mark at the best epoch."""
    panels: dict[str, list[str]] = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        if name not in left_out:
            stage, _, metric = name.replace("_", "/", "/" not in name).partition("/")
            panels.setdefault(metric or stage, []).append(name)
    shown = list(panels.items())[:MAX_PANELS]
    best_epoch = next((epoch for epoch, value in _points(rows, monitor) if value == best), None)
    columns = min(len(shown), NUM_COLUMNS) or 1
    figure = Figure(figsize=(4 * columns, 3 * math.ceil(len(shown) / columns) or 3), layout="constrained", dpi=100)
    for k, (metric, names) in enumerate(shown):
        axes = figure.add_subplot(math.ceil(len(shown) / columns), columns, k + 1)
        for name, colour in zip(names, cycle(COLORS), strict=False):
            points = _points(rows, name)
            axes.plot(*zip(*points, strict=True), color=colour, marker="." if len(points) < 30 else "", label=name)
        if best_epoch is not None:
            axes.axvline(best_epoch, color="0.6", linestyle=":", label=f"best checkpoint, epoch {best_epoch}")
        axes.set_title(metric, fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    return figure


def _points(rows: Sequence[Mapping[str, Any]], name: Any) -> list[tuple[int, float]]:
    """Return the epochs that have a value of a metric, and the values."""
    return [(int(row["epoch"]), float(row[name])) for row in rows if row.get(name) not in ("", None)]
