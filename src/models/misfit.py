from collections.abc import Callable
from typing import Any

import torchmetrics.classification
from lightning.pytorch.utilities.memory import is_oom_error
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from src.errors import UsageError


def misfit(metrics: MetricCollection, given: Any, error: Exception, probe: Callable[[Metric], Any]) -> Exception:
    """Return what to raise where metrics could not take a batch: which of them, what it got, and what to take instead.

    `given` are predictions and targets, or tensors of their shapes; `probe` fails for the metric in question alone.
    """
    for name, metric in metrics.items(keep_base=True) if not is_oom_error(error) else ():
        try:
            probe(metric)
        except Exception:
            kind, (predictions, targets) = type(metric).__name__, given or (None, None)
            got = f"predictions of {_shape(predictions)} and targets of {_shape(targets)}"
            said = str(error).strip().partition("\n")[0][:200]
            advice = _advice(kind, predictions, targets)
            return UsageError(f"model.metrics.{name}: {kind} cannot take {got}{advice} ({said})")
    return error


def _shape(values: Any) -> str:
    return f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__


def _advice(kind: str, predictions: Any, targets: Any) -> str:
    """Name the metric of the same kind for the task that the shapes look like."""
    task = next((name for name in ("Binary", "Multiclass", "Multilabel") if kind.startswith(name)), None)
    if task is None or not isinstance(predictions, Tensor) or not isinstance(targets, Tensor):
        return ""
    fitting = "Multiclass" if predictions.ndim > targets.ndim else "Multilabel" if targets.ndim > 1 else "Binary"
    other = fitting + kind.removeprefix(task)
    number = {"Multiclass": "num_classes", "Multilabel": "num_labels"}.get(fitting)
    if fitting == task or not hasattr(torchmetrics.classification, other):
        return ""
    return f"; take torchmetrics.classification.{other}" + (f", {number} {predictions.shape[1]}" if number else "")
