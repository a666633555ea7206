"""What a module needs, and what its metrics take."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torchmetrics.classification
from lightning.pytorch.utilities.memory import is_oom_error
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from src.errors import UsageError


def check_parts(kind: type, base: type, parts: dict[str, Any]) -> None:
    """See that nothing is left out which a module uses.

    Args:
        kind: Its class, with a `step` that uses net and loss or not.
        base: The class whose `configure_optimizers` makes use of the optimizer.
        parts: Its net, loss and optimizer, None for what was left out.

    Raises:
        ValueError: If something is missing.
    """
    used = {"optimizer"} if kind.configure_optimizers is base.configure_optimizers else set()  # type: ignore
    for step in (vars(parent)["step"] for parent in kind.__mro__ if "step" in vars(parent)):
        names = getattr(inspect.unwrap(step), "__code__", step).co_names
        used |= {"net", "loss"} & set(names)
        if "super" not in names:
            break
    if missing := [name for name in parts if name in used and parts[name] is None]:
        names = " and ".join(f"model.{name}" for name in missing)
        raise ValueError(f"{names} must be set, since {kind.__name__} uses it; write a class_path")


def check_names(metrics: Iterable[str]) -> None:
    """See that metrics can be called so.

    Raises:
        ValueError: If not.
    """
    for name in metrics:
        if name == "loss":
            raise ValueError("model.metrics: 'loss' is logged already; choose another name for this metric")
        if not name or "." in name:  # torch keeps them as modules
            raise ValueError(f"model.metrics: a metric cannot be called '{name}'; choose a name without dots")


def misfit(metrics: MetricCollection, given: Any, error: Exception, probe: Callable[[Metric], Any]) -> Exception:
    """Return what to raise where metrics could not take a batch: which of them, what it got, and what to take instead.

    Args:
        metrics: One of them failed.
        given: Predictions and targets, or tensors of their shapes; None if they got nothing.
        error: What was raised.
        probe: Fails for that one alone.
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
