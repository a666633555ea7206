"""Optimizers and schedulers from the factories that a configuration gives."""

import inspect
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LambdaLR, LRScheduler

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]


class WarmupCosine(LambdaLR):
    """Raise the learning rate linearly from near zero, then let it fall along a cosine (arXiv:1608.03983).

    Args:
        optimizer: Optimizer whose learning rates are scaled.
        total_steps: Optimizer steps of the whole training; filled in from the trainer if left out.
        warmup: Share of the steps in which the rate rises, in [0, 1).
        final: Last rate as a share of the first, in [0, 1].

    Raises:
        ValueError: If a share is out of range or there are no steps.
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
        rising = round(self.warmup * self.total_steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        progress = min((step - rising) / max(self.total_steps - rising, 1), 1.0)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))


def build_optimizer(factory: OptimizerFactory, module: nn.Module, decay_norm_and_bias: bool) -> Optimizer:
    """Build an optimizer over the parameters of `module` that train.

    Args:
        factory: Makes the optimizer from parameters or parameter groups.
        module: Holds the parameters.
        decay_norm_and_bias: Whether weight decay also acts on biases and on norm layers. If not, they form a second
            group without it; optimizers that have no weight decay always get plain parameters.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = factory(trained)
    if decay_norm_and_bias or not optimizer.defaults.get("weight_decay"):
        return optimizer
    norms = [layer for layer in module.modules() if "Norm" in type(layer).__name__]
    exempt = {id(parameter) for layer in norms for parameter in layer.parameters(recurse=False)}
    exempt |= {id(parameter) for parameter in trained if parameter.ndim <= 1}  # biases, and scales of unnamed norms
    decayed = [parameter for parameter in trained if id(parameter) not in exempt]
    others = [parameter for parameter in trained if id(parameter) in exempt]
    return factory([{"params": decayed}, {"params": others, "weight_decay": 0.0}])


def build_scheduler(factory: SchedulerFactory, optimizer: Optimizer, total_steps: Callable[[], float]) -> LRScheduler:
    """Build a scheduler, filling in `total_steps` where its class has that parameter and nobody gave it.

    Args:
        factory: Makes the scheduler from an optimizer.
        optimizer: What the scheduler acts on.
        total_steps: Tells the optimizer steps of the whole training.

    Raises:
        ValueError: If the number of steps is needed and not finite.
    """
    given: dict[str, Any] = factory.keywords if isinstance(factory, partial) else {}
    has_total = "total_steps" in given or "total_steps" in inspect.signature(factory).parameters
    if not has_total or given.get("total_steps") is not None or given.get("epochs") is not None:
        return factory(optimizer)
    steps = total_steps()
    if not math.isfinite(steps):
        raise ValueError(f"the scheduler needs the number of steps, got {steps}; set trainer.max_epochs or max_steps")
    return factory(optimizer, total_steps=int(steps))  # type: ignore[call-arg]


def steps_per_batch(scheduler: LRScheduler) -> bool:
    """Whether a scheduler is meant to step after every batch rather than every epoch."""
    return hasattr(scheduler, "total_steps") or isinstance(scheduler, CyclicLR)
