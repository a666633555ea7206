"""Curves of a training, drawn from the rows of metrics.csv, and figures of metrics of an evaluation."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from lightning.pytorch import Trainer
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from torchmetrics import Metric

from trainworks.callbacks.helpers.loggers import tensorboard_writers
from trainworks.models.colors import color_of

COLORS = [f"#{bytes(color_of(k)).hex()}" for k in (5, 1, 3, 7, 6, 2)]
MAX_PANELS, NUM_COLUMNS = 12, 3
MAX_NAMED_CLASSES = 25  # with more, numbers and names in a figure are not readable


def draw_curves(rows: Sequence[Mapping[str, Any]], left_out: Sequence[str], monitor: str | None, best: Any) -> Figure:
    """Return a panel for each metric, with a line for each of its stages, and a mark at the best epoch."""
    panels: dict[str, list[str]] = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        if name not in left_out:
            stage, _, metric = name.replace("_", "/", "/" not in name).partition("/")
            panels.setdefault(metric or stage, []).append(name)
    shown = list(panels.items())[:MAX_PANELS]
    best_epoch = None
    if best is not None:
        scores = [(row["epoch"], row.get(monitor)) for row in rows]  # type: ignore[arg-type]
        best_epoch = next(
            (int(epoch) for epoch, value in scores if value not in ("", None) and float(value) == best), None
        )
    columns = min(len(shown), NUM_COLUMNS) or 1
    figure = Figure(figsize=(4 * columns, 3 * math.ceil(len(shown) / columns) or 3), layout="constrained", dpi=100)
    for k, (metric, names) in enumerate(shown):
        axes = figure.add_subplot(math.ceil(len(shown) / columns), columns, k + 1)
        for name, colour in zip(names, cycle(COLORS), strict=False):
            points = [(int(row["epoch"]), float(row[name])) for row in rows if row.get(name) not in ("", None)]
            axes.plot(*zip(*points, strict=True), color=colour, marker="." if len(points) < 30 else "", label=name)
        if best_epoch is not None:
            axes.axvline(best_epoch, color="0.6", linestyle=":", label=f"best checkpoint, epoch {best_epoch}")
        axes.set_title(metric, fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    return figure


def plot_metric(metric: Metric, value: Any, names: list[str]) -> Any:
    """Return the figure that a metric plots, with the names of the classes where they are readable."""
    few = len(names) <= MAX_NAMED_CLASSES
    if "ConfusionMatrix" in type(metric).__name__:
        figure, axes = metric.plot(value, add_text=few, labels=names if few else None)
        figure.set_size_inches(7, 7)
        return figure
    figure, axes = metric.plot(value)
    if legend := axes.get_legend():  # beside the curves, not over them
        handles = legend.legend_handles
        legend.remove()
        if few and len(handles) == len(names):
            axes.legend(handles, names, loc="upper left", bbox_to_anchor=(1.02, 1.0))
    figure.tight_layout()
    return figure


def send_pr_curves(trainer: Trainer, counts: Tensor, stage: str, names: list[str], step: int) -> None:
    """Fill TensorBoard's PR curves panel from numbers of samples, shape (thresholds, classes, actual, predicted)."""
    for writer in tensorboard_writers(trainer):
        for k, name in enumerate(names[:MAX_NAMED_CLASSES]):
            tn, fp, fn, tp = (counts[:, k, actual, predicted] for actual in (0, 1) for predicted in (0, 1))
            precision, recall = tp / (tp + fp).clamp(min=1), tp / (tp + fn).clamp(min=1)
            values = [item.double().numpy() for item in (tp, fp, tn, fn, precision, recall)]
            writer.add_pr_curve_raw(f"pr_curve/{stage}/{name}", *values, step, num_thresholds=len(counts))
