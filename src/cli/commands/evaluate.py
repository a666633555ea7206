"""python train.py validate|test|predict: run one checkpoint over one part of the data."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden

from src.errors import UsageError


class NothingToDo(UsageError):
    """The module has no such step, or the data no such part."""


def evaluate(stage: str, trainer: Trainer, module: LightningModule, datamodule: Any, path: str | None) -> None:
    """Validate, test or predict.

    Args:
        stage: Which of them.
        trainer: The trainer.
        module: The module.
        datamodule: The data, None where the module brings its own.
        path: The checkpoint; None for the weights as they are.

    Raises:
        NothingToDo: If the module has no step for it, or neither module nor data a loader.
    """
    if missing := _missing(stage, module, datamodule):
        raise NothingToDo(missing)
    try:
        if stage == "predict":
            trainer.predict(module, datamodule, return_predictions=False, ckpt_path=path, weights_only=True)
        else:
            run = trainer.validate if stage == "validate" else trainer.test
            run(module, datamodule, path, verbose=False, weights_only=True)
    except (TypeError, AttributeError) as error:
        if "An invalid dataloader was returned" in str(error):
            raise NothingToDo(str(error).split(". Found")[0]) from None
        if stage == "predict" and not is_overridden("predict_step", module):
            what = f"{type(module).__name__} has no predict_step, and its forward cannot take a batch of this data"
            raise NothingToDo(f"{what}: {error}") from error
        raise


def has_loader(stage: str, module: LightningModule, datamodule: Any) -> bool:
    """Whether module or data have a method that returns loaders for train, val, test or predict."""
    return any(is_overridden(f"{stage}_dataloader", owner) for owner in (module, datamodule))


def _missing(stage: str, module: LightningModule, datamodule: Any) -> str | None:
    """Say what a stage would need and neither module nor data have; None if all is there."""
    name = type(module).__name__
    short = "val" if stage == "validate" else stage
    step = "validation_step" if stage == "validate" else f"{stage}_step"
    if not is_overridden(step, module) and not (stage == "predict" and is_overridden("forward", module)):
        return f"{name} has no {step}"
    if not has_loader(short, module, datamodule):
        return f"{name if datamodule is None else type(datamodule).__name__} has no {short}_dataloader"
    splits = getattr(datamodule, "splits", None)  # known after a training
    if stage == "test" and splits and not any(split.partition("/")[0] == "test" for split in splits):
        return "the data has no test split"
    return None
