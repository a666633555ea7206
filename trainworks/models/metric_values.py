"""The values of a metric where it had something to count, and the names under which they are logged."""

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric
from torchmetrics import classification as kinds
from torchmetrics.wrappers import ClasswiseWrapper

from trainworks.errors import UsageError

CURVES = (  # AUROC and others are kinds of them
    kinds.BinaryPrecisionRecallCurve | kinds.MulticlassPrecisionRecallCurve | kinds.MultilabelPrecisionRecallCurve
)


def counted_value(metric: Metric) -> Any:
    """Return the value of a metric, NaN for classes that never occurred; None if nothing was counted at all.

    Without anything to count torchmetrics gives 0, 1 or -1, which are no results.
    """
    metric = _unwrapped(metric)
    counts = _num_counted(metric)
    if counts is None:
        return _precisions(metric) if type(metric).__name__ == "MeanAveragePrecision" else metric.compute()
    if dist.is_available() and dist.is_initialized():  # all processes must decide alike
        dist.all_reduce(counts)
    known = (counts > 0).all(dim=0)
    if not known.any():
        return None
    value = metric.compute()
    return value.where(known, torch.nan) if isinstance(value, Tensor) and value.shape == known.shape else value


def example_value(metric: Metric) -> Any:
    """Return a value of the form that a metric will have, before it gets anything."""
    probe = _unwrapped(metric).clone()
    probe.reset()
    probe.distributed_available_fn = lambda: False  # it may be asked on one process only
    with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):
        return probe.compute()
    by_class = getattr(probe, "average", "") in (None, "none")  # a metric that keeps all samples has no value yet
    count = getattr(probe, "num_classes", None) or getattr(probe, "num_labels", None)
    return torch.zeros(count) if by_class and count else torch.zeros(())


def named_values(name: str, metric: Metric, value: Any, class_names: Sequence[str] | None) -> dict[str, Any]:
    """Return the numbers of a metric by full name: val/f1, or val/f1/cat for each class.

    A class without a name has its number. Of a metric that returns a dictionary each number has its key as its name.
    Any other value is a UsageError.
    """
    if isinstance(value, dict):
        known = {str(k): label for k, label in enumerate(class_names or ())}  # such as that of map_per_class/3
        keys = {key: key.rpartition("/") for key, item in value.items() if torch.as_tensor(item).ndim == 0}
        parts = {key: f"{head}/{known.get(last, last)}" if head else last for key, (head, _, last) in keys.items()}
        return {f"{name.rpartition('/')[0]}/{part}": value[key] for key, part in parts.items()}
    ndim = 0 if isinstance(value, int | float) else getattr(value, "ndim", None)
    if ndim == 0:
        return {name: value}
    kind = type(_unwrapped(metric)).__name__
    of_samples = getattr(metric, "multidim_average", "global") == "samplewise" or kind.endswith("StatScores")
    if ndim != 1 or of_samples:
        got = f"values of shape {tuple(value.shape)}" if ndim else f"a {type(value).__name__}"
        how = "choose another, or let figure_metrics of your module return it, which draws it"
        wanted = "a metric must give one number, or one for each class"
        raise UsageError(f"model.metrics.{name.partition('/')[2]}: {kind} gives {got}, but {wanted}; {how}")
    stated = metric.labels if isinstance(metric, ClasswiseWrapper) else None
    labels = [str(label).replace("/", "_") for label in stated or class_names or ()]
    if len(set(labels)) != len(value):
        labels = [str(k) for k in range(len(value))]
    return {f"{name}/{label}": item for label, item in zip(labels, value, strict=True)}


def _unwrapped(metric: Metric) -> Metric:
    """Return the metric whose values a ClasswiseWrapper names, or the metric itself."""
    inner: Metric = metric.metric if isinstance(metric, ClasswiseWrapper) else metric
    return inner


def _precisions(metric: Any) -> dict[str, Tensor]:
    """Return the numbers of MeanAveragePrecision; its -1 means that there were no boxes, and becomes NaN."""
    found = {key: value for key, value in metric.compute().items() if isinstance(value, Tensor)}
    classes = found.pop("classes").reshape(-1).tolist()
    values: dict[str, Tensor] = {}
    for key, value in found.items():
        if not key.endswith("_per_class"):
            values |= {key: value} if value.numel() == 1 else {}
        elif metric.class_metrics:
            values |= {f"{key}/{number}": item for number, item in zip(classes, value.reshape(-1), strict=False)}
    return {key: value.float().where(value != -1, torch.nan) for key, value in values.items()}


def _num_counted(metric: Metric) -> Tensor | None:
    """Return numbers of samples of each class that must all be above 0, shape (M, K); None where they are not known."""
    states: Any = metric.metric_state
    is_multiclass = hasattr(metric, "num_classes")
    if isinstance(metric, CURVES):  # they compare samples of a class with others
        return _positives_and_negatives(metric, states, is_multiclass)
    if isinstance(states.get("tp"), Tensor) and {"fp", "tn", "fn"} <= states.keys():
        return (states["tp"] + states["fp"] + states["fn"] + (0 if is_multiclass else states["tn"])).reshape(1, -1)
    if isinstance(matrix := states.get("confmat"), Tensor):
        return (matrix.sum(0) + matrix.sum(1) if is_multiclass else matrix.sum((-2, -1))).reshape(1, -1)
    return None


def _positives_and_negatives(metric: Any, states: Any, is_multiclass: bool) -> Tensor:
    """Return how many samples of each class there are, and how many of others, shape (2, K)."""
    if metric.thresholds is not None:  # (thresholds, K, actual, predicted)
        return states["confmat"][0].sum(dim=-1).reshape(-1, 2).T.contiguous()
    found = [torch.zeros(0, dtype=torch.long), *states["target"]]
    targets = torch.cat([part.flatten().to(metric.device) for part in found])
    if is_multiclass:
        positive = torch.bincount(targets[targets >= 0], minlength=metric.num_classes)
        return torch.stack([positive, positive.sum() - positive])
    targets = targets.reshape(-1, getattr(metric, "num_labels", 1))
    return torch.stack([(targets == 1).sum(dim=0), (targets == 0).sum(dim=0)])
