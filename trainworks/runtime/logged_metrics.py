"""Which metrics a round of training or validation logged, and which of them a person can read at once."""

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor

Value = TypeVar("Value")
MAX_CLASSES = 3  # of a metric, whose values are shown in one line


def logged_since(before: Mapping[str, Tensor], metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """Return those of a trainer's `callback_metrics` that were computed since a copy of them was made, `before`.

    Lightning leaves older values among them; those are the same objects as before. Values of single steps are left out,
    and so is the second name that Lightning gives to means that it logs for steps too. An empty `before` gives all.
    """
    new = {name: value for name, value in metrics.items() if before.get(name) is not value}
    twice = {name for name in new if name.removesuffix("_epoch") in new and name.endswith("_epoch")}
    return {name: float(value) for name, value in new.items() if name not in twice and not name.endswith("_step")}


def without_classes(values: Mapping[str, Value], most: int = MAX_CLASSES) -> dict[str, Value]:
    """Return the values without those of single classes, such as val/f1/cat, of metrics that have more than `most`.

    What has a loss, such as val/noisy, is no metric but a set.
    """
    counts = Counter(name.rpartition("/")[0] for name in values if name.count("/") > 1)
    large = {parent for parent, count in counts.items() if count > most and f"{parent}/loss" not in values}
    return {name: value for name, value in values.items() if name.rpartition("/")[0] not in large}
