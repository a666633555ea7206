import inspect
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler

from trainworks.root import OWN

SchedulerFactory = Callable[[Optimizer], LRScheduler]
RATE_ARGUMENTS = ("max_lr", "base_lr", "swa_lr")  # they replace the optimizer's learning rates


def build_scheduler(factory: SchedulerFactory, optimizer: Optimizer, total_steps: Callable[[], float]) -> LRScheduler:
    """Build a scheduler, filling in `total_steps` where its class has that parameter and nobody gave it.

    `total_steps` returns how often the scheduler steps in the whole training.
    """
    given: dict[str, Any] = factory.keywords if isinstance(factory, partial) else {}
    if isinstance(given.get("lr_lambda"), list):  # jsonargparse writes a list of functions as text it cannot read
        raise ValueError(f"lr_lambda must be one function, got a list; write {OWN}.my_file.my_function")
    _check_rates(given, optimizer)
    if "schedulers" in given:
        return factory(optimizer, schedulers=_with_total_steps(given, total_steps))  # type: ignore[call-arg]
    has_total = "total_steps" in given or "total_steps" in inspect.signature(factory).parameters
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
