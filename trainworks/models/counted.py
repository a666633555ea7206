"""The value of a metric where it had something to count: without that torchmetrics gives 0, 1 or -1, no results."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric
from torchmetrics import classification as kinds

CURVES = (  # AUROC and others are kinds of them
    kinds.BinaryPrecisionRecallCurve | kinds.MulticlassPrecisionRecallCurve | kinds.MultilabelPrecisionRecallCurve
)


def counted_value(metric: Metric) -> Any:
    """Return the value of a metric, NaN for classes that never occurred; None if nothing was counted at all."""
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


def _precisions(metric: Any) -> dict[str, Any]:
    """Return the values of MeanAveragePrecision, whose -1 means that there were no boxes."""
    found = {key: value.float().where(value != -1, torch.nan).reshape(-1) for key, value in metric.compute().items()}
    classes = found["classes"].int().tolist()
    values = {key: value[0] for key, value in found.items() if len(value) == 1}
    for key in [key for key in found if key == "classes" or key.endswith("_per_class")]:
        values.pop(key, None)
        if metric.class_metrics and key != "classes":
            values |= {f"{key}/{number}": value for number, value in zip(classes, found[key], strict=False)}
    return values


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
