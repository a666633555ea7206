import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler

from trainworks.root import OWN

SchedulerFactory = Callable[[Optimizer], LRScheduler]
RATES = ("max_lr", "base_lr", "swa_lr")  # arguments that stand in place of the optimizer's learning rates


def build_scheduler(factory: SchedulerFactory, optimizer: Optimizer, total_steps: Callable[[], float]) -> LRScheduler:
    """Build a scheduler, filling in `total_steps` where its class has that parameter and nobody gave it.

    `total_steps` tells how often the scheduler steps in the whole training.
    """
    given: dict[str, Any] = factory.keywords if isinstance(factory, partial) else {}
    if isinstance(given.get("lr_lambda"), list):  # jsonargparse writes a list of functions as text it cannot read
        raise ValueError(f"lr_lambda must be one function, got a list; write {OWN}.my_file.my_function")
    _check_rates(given, optimizer)
    if "schedulers" in given:
        from trainworks.optim.own_schedulers import filled_in

        return factory(optimizer, schedulers=filled_in(given, total_steps))  # type: ignore[call-arg]
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


def _check_rates(given: dict[str, Any], optimizer: Optimizer) -> None:
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    if len(set(rates)) == 1:
        return
    for name in RATES:
        if isinstance(given.get(name), float | int):
            raise ValueError(
                f"the scheduler's {name}: {given[name]} would replace rates that differ by layer or optimizer: "
                f"write one for each group, such as {name}: {rates}, or trainworks.optim.WarmupCosine, which scales all"
            )
