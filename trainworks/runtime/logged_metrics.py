"""Which metrics a round of training or validation logged."""

from collections.abc import Mapping

from torch import Tensor


def logged_since(before: Mapping[str, Tensor], metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """Return those of a trainer's `callback_metrics` that were computed since a copy of them was made, `before`.

    Lightning leaves older values among them; those are the same objects as before. Values of single steps are left out,
    and so is the second name that Lightning gives to means that it logs for steps too. An empty `before` gives all.
    """
    new = {name: value for name, value in metrics.items() if before.get(name) is not value}
    twice = {name for name in new if name.removesuffix("_epoch") in new and name.endswith("_epoch")}
    return {name: float(value) for name, value in new.items() if name not in twice and not name.endswith("_step")}
