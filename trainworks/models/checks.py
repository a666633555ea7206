"""Checks of what a module is built from and gets, and the names of the sets that it is evaluated on."""

import inspect
from collections.abc import Iterable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from trainworks.errors import UsageError


class MissingPart(UsageError, AttributeError):
    """A part of a module that was left out and is used; an AttributeError too, so that `hasattr` is False."""

    def __init__(self, module: nn.Module, part: str) -> None:
        super().__init__(f"model.{part} must be set, since {type(module).__name__} uses it; write a class_path")


def check_names(metrics: Iterable[str]) -> None:
    """Check the names of metrics."""
    for name in metrics:
        if name == "loss":
            raise ValueError("model.metrics: 'loss' is logged already; choose another name for this metric")
        if not name or "." in name:  # metrics are submodules, whose names have no dots
            raise ValueError(f"model.metrics: a metric cannot be called '{name}'; choose a name without dots")


def check_takes_two(loss: nn.Module) -> None:
    """Refuse a loss, or a term of a sum of losses, that needs more arguments than outputs and targets."""
    for part in getattr(loss, "losses", [loss]):
        parameters = inspect.signature(part.forward).parameters.values()
        needed = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
        if len(needed) > 2:
            got = f"{type(part).__name__} needs {', '.join(needed)}, but gets outputs and targets"
            raise ValueError(f"model.loss: {got}; choose another, or call it in the step of a module of your own")


def trainer_of(module: LightningModule) -> Trainer | None:
    """Return the trainer that a module is attached to, or None if there is none."""
    try:
        return module.trainer
    except RuntimeError:
        return None


def set_names(trainer: Any, stage: str) -> list[str]:
    """Return the names of the validation or test sets, in the order of their loaders; metrics are logged under them.

    They are the names of the datamodule's splits, such as val and val/noisy. The loaders of a datamodule without named
    splits are called val, val/1, val/2. Without a trainer there is one set, called like the `stage`, val or test.
    """
    datamodule: Any = getattr(trainer, "datamodule", None)
    names: list[str] = (datamodule.set_names(stage) if hasattr(datamodule, "set_names") else []) or [stage]
    count = len(getattr(trainer, f"num_{stage}_batches", ()))  # one number a loader
    return names if count in (0, len(names)) else [stage, *(f"{stage}/{k}" for k in range(1, count))]


def check_step(module: nn.Module, returned: Any) -> Any:
    """Return what `step` returned, which must be loss, predictions and targets; anything else is a UsageError."""
    if isinstance(returned, tuple | list) and len(returned) == 3:
        return returned
    got = f"{len(returned)} values" if isinstance(returned, tuple | list) else type(returned).__name__
    raise UsageError(f"{type(module).__name__}.step must return loss, predictions and targets, got {got}")


def num_samples(targets: Any) -> int:
    """Return the number of samples that targets belong to; those of several heads may have names."""
    return len(next(iter(targets.values())) if isinstance(targets, dict) else targets)


def inputs_and_targets(batch: Any) -> tuple[Any, Tensor]:
    """Return inputs and targets of a batch; any other batch is a UsageError."""
    if isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[1], Tensor):
        return batch[0], batch[1]
    parts = batch if isinstance(batch, tuple | list) else ()
    names = batch if isinstance(batch, dict) else [type(part).__name__ for part in parts]
    how = "let the dataset return (input, target), the target a number or a tensor, or write a module of your own"
    if len(parts) == 2 and isinstance(parts[1], list) and parts[1] and isinstance(parts[1][0], dict):
        how = "boxes are for a detector, as in the template's configs/detection.yaml"
    raise UsageError(f"a batch must be (inputs, targets), got a {type(batch).__name__} ({', '.join(names)}); {how}")
