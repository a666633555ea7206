"""How a scheduler is built, and those that torch lacks: its own lists take built ones, which YAML cannot hold."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable
from lightning.pytorch.utilities import rank_zero_only
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ChainedScheduler, CyclicLR, LambdaLR, LRScheduler, SequentialLR

from trainworks.root import OWN

SchedulerFactory = Callable[[Optimizer], LRScheduler]
RATE_ARGUMENTS = ("max_lr", "base_lr", "swa_lr")  # they replace the optimizer's learning rates


def build_scheduler(factory: SchedulerFactory, optimizer: Optimizer, total_steps: Callable[[], float]) -> LRScheduler:
    """Build a scheduler, filling in `total_steps` where its class has that parameter and nobody gave it.

    A momentum that the optimizer has not is not cycled. `total_steps` returns how often the scheduler steps in all.
    """
    given: dict[str, Any] = factory.keywords if isinstance(factory, partial) else {}
    if isinstance(given.get("lr_lambda"), list):  # jsonargparse writes a list of functions as text it cannot read
        raise ValueError(f"lr_lambda must be one function, got a list; write {OWN}.my_file.my_function")
    _check_rates(given, optimizer)
    if "schedulers" in given:
        return factory(optimizer, schedulers=_with_total_steps(given, total_steps))  # type: ignore[call-arg]
    parameters = inspect.signature(factory).parameters
    cycles = given.get("cycle_momentum", "cycle_momentum" in parameters)  # the parser gives a class's defaults too
    if cycles and not optimizer.defaults.keys() & {"momentum", "betas"}:
        rank_zero_only(print)(f"the scheduler cycles no momentum: {type(optimizer).__name__} has none")
        factory = partial(factory, cycle_momentum=False)  # type: ignore[call-arg]
    has_total = "total_steps" in given or "total_steps" in parameters
    if not has_total or given.get("total_steps") is not None or given.get("epochs") is not None:
        return factory(optimizer)
    steps = total_steps()
    if not 1 <= steps < math.inf:
        unknown = "the scheduler needs the number of steps, which is not known"
        raise ValueError(f"{unknown}; set trainer.max_steps, or trainer.max_epochs where the data has a length")
    return factory(optimizer, total_steps=int(steps))  # type: ignore[call-arg]


def steps_per_batch(scheduler: LRScheduler) -> bool:
    """Whether a scheduler, or one of those it holds, is meant to step after every batch rather than every epoch."""
    return (
        hasattr(scheduler, "total_steps")
        or isinstance(scheduler, CyclicLR)
        or any(map(steps_per_batch, getattr(scheduler, "_schedulers", ())))
    )


def _with_total_steps(given: dict[str, Any], total_steps: Callable[[], float]) -> list[SchedulerFactory]:
    """Return the factories of several schedulers, each with the number of its own steps."""
    factories, milestones = given["schedulers"], given.get("milestones")
    spans = [(0, None)] * len(factories) if milestones is None else list(pairwise([0, *milestones, None]))
    if len(spans) != len(factories) or any(end is not None and end <= start for start, end in spans):
        raise ValueError(f"{len(factories)} schedulers need {len(factories) - 1} rising milestones, got {milestones}")

    def steps_between(start: int, end: int | None) -> float:
        last = total_steps() if end is None else end
        if last <= start:
            raise ValueError(f"milestones must come before the end at step {last}, got {milestones}")
        return last - start

    return [
        partial(build_scheduler, factory, total_steps=partial(steps_between, *span))
        for factory, span in zip(factories, spans, strict=True)
    ]


def _check_rates(given: dict[str, Any], optimizer: Optimizer) -> None:
    """Raise a ValueError where one rate would replace the learning rates of several groups that differ."""
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    for name in RATE_ARGUMENTS if len(set(rates)) > 1 else ():
        if isinstance(given.get(name), float | int):
            raise ValueError(
                f"the scheduler's {name}: {given[name]} would replace rates that differ by layer or optimizer: "
                f"write one for each group, such as {name}: {rates}, or trainworks.optim.WarmupCosine, which scales all"
            )


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
