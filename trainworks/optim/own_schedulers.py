"""Schedulers that torch lacks. Its SequentialLR and ChainedScheduler take built ones, which YAML cannot hold."""

import math

from lightning.pytorch.cli import LRSchedulerCallable
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ChainedScheduler, LambdaLR, SequentialLR


class WarmupCosine(LambdaLR):
    """Raise the learning rate linearly from near zero, then lower it along a cosine (arXiv:1608.03983).

    Args:
        optimizer: Optimizer whose learning rates are scaled.
        total_steps: Optimizer steps of the whole training; filled in from the trainer if left out.
        warmup: Fraction of the steps in which the rate rises, in [0, 1).
        final: Last rate as a fraction of the highest, in [0, 1].
    """

    def __init__(
        self, optimizer: Optimizer, total_steps: int | None = None, warmup: float = 0.1, final: float = 0.0
    ) -> None:
        if not 0 <= warmup < 1 or not 0 <= final <= 1:
            raise ValueError(f"warmup must be in [0, 1) and final in [0, 1], got {warmup} and {final}")
        if total_steps is None or total_steps < 1:
            raise ValueError(f"total_steps must be at least 1, got {total_steps}")
        self.total_steps, self.warmup, self.final = total_steps, warmup, final
        super().__init__(optimizer, self._scale)

    def _scale(self, step: int) -> float:
        warmup_steps = round(self.warmup * self.total_steps)
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        progress = min((step - warmup_steps) / max(self.total_steps - warmup_steps, 1), 1.0)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))


class SequentialSchedulers(SequentialLR):
    """Schedulers one after the other, such as a warm-up and then a decay.

    Args:
        optimizer: Optimizer whose learning rates are changed.
        schedulers: Each begins when the one before it ends. A `total_steps` that was left out becomes the number of
            steps until the next milestone, or until the end.
        milestones: The step (or the epoch, if the schedulers step after epochs) at which each of them but the first
            begins.
    """

    def __init__(self, optimizer: Optimizer, schedulers: list[LRSchedulerCallable], milestones: list[int]) -> None:
        super().__init__(optimizer, [build(optimizer) for build in schedulers], milestones)


class ChainedSchedulers(ChainedScheduler):
    """Schedulers that all act at every step, each on the learning rate that the one before it has set.

    Use schedulers that multiply the current rate. LambdaLR, WarmupCosine, OneCycleLR and CyclicLR compute it from the
    initial one, which undoes what the schedulers before them did.

    Args:
        optimizer: Optimizer whose learning rates are changed.
        schedulers: Any but ReduceLROnPlateau.

    Raises:
        ValueError: If there are none, or one of them is ReduceLROnPlateau.
    """

    def __init__(self, optimizer: Optimizer, schedulers: list[LRSchedulerCallable]) -> None:
        super().__init__([build(optimizer) for build in schedulers], optimizer)
