"""The names under which the values of a metric are logged, where it has a value for each class too."""

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.wrappers import ClasswiseWrapper

from trainworks.errors import UsageError


def named_values(name: str, metric: Metric, value: Any, class_names: Sequence[str] | None) -> dict[str, Any]:
    """Return the numbers of a metric by full name: val/f1, or val/f1/cat for each class.

    A class without a name has its number. Of a metric that returns a dictionary each number has its key as its name.

    Raises:
        UsageError: If the value is neither numbers by name nor a number, or one for each class.
    """
    if isinstance(value, dict):
        known = {str(k): label for k, label in enumerate(class_names or ())}  # such as that of map_per_class/3
        keys = {key: key.rpartition("/") for key, item in value.items() if torch.as_tensor(item).ndim == 0}
        parts = {key: f"{head}/{known.get(last, last)}" if head else last for key, (head, _, last) in keys.items()}
        return {f"{name.rpartition('/')[0]}/{part}": value[key] for key, part in parts.items()}
    if isinstance(value, int | float) or (isinstance(value, Tensor) and value.ndim == 0):
        return {name: value}
    kind = type(unwrapped(metric)).__name__
    of_samples = getattr(metric, "multidim_average", "global") == "samplewise" or kind.endswith("StatScores")
    if not isinstance(value, Tensor) or value.ndim != 1 or of_samples:
        got = f"values of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        how = "choose another, or let figure_metrics of your module return it, which draws it"
        wanted = "a metric must give one number, or one for each class"
        raise UsageError(f"model.metrics.{name.partition('/')[2]}: {kind} gives {got}, but {wanted}; {how}")
    stated = metric.labels if isinstance(metric, ClasswiseWrapper) else None
    labels = [str(label).replace("/", "_") for label in stated or class_names or ()]
    if len(set(labels)) != len(value):
        labels = [str(k) for k in range(len(value))]
    return {f"{name}/{label}": item for label, item in zip(labels, value, strict=True)}


def example_value(metric: Metric) -> Any:
    """Return a value of the form that a metric will have, before it gets anything."""
    probe = unwrapped(metric).clone()
    probe.reset()
    probe.distributed_available_fn = lambda: False  # it may be asked on one process only
    with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):
        return probe.compute()
    by_class = getattr(probe, "average", "") in (None, "none")  # a metric that keeps all samples has no value yet
    count = getattr(probe, "num_classes", None) or getattr(probe, "num_labels", None)
    return torch.zeros(count) if by_class and count else torch.zeros(())


def unwrapped(metric: Metric) -> Metric:
    """Return the metric whose values a ClasswiseWrapper names, or the metric itself."""
    inner: Metric = metric.metric if isinstance(metric, ClasswiseWrapper) else metric
    return inner
