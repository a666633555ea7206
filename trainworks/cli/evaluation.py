"""Running one checkpoint over one part of the data: validate, test and predict."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.model_helpers import is_overridden

from trainworks.cli.builder import Session, has_loader
from trainworks.errors import UsageError
from trainworks.runtime.logged_metrics import logged_since


class NothingToDo(UsageError):
    """The module has no such step, or the data no such part."""


def evaluate(session: Session, stage: str, path: str | None, inputs: LightningDataModule | None = None) -> None:
    """Run the stage "validate", "test" or "predict", and keep what was logged in the session.

    `path` is that of the checkpoint, None for the weights as they are; `inputs` are predicted on in place of the data.
    """
    trainer, module = session.trainer, session.model
    if inputs is None and (missing := _missing(session, stage)):
        raise NothingToDo(missing)
    if session.request.line.evaluates:
        _show_at_its_step(trainer, str(path))
    how: Any = {"return_predictions": False} if stage == "predict" else {"verbose": False}
    try:
        getattr(trainer, stage)(module, inputs or session.datamodule, ckpt_path=path, weights_only=True, **how)
    except (TypeError, AttributeError, ValueError) as error:
        if inputs is not None and "values to unpack" in str(error):
            how = "batch[0] if isinstance(batch, (list, tuple)) else batch"
            raise UsageError(f"predict_step takes a batch apart, and --input brings no targets; write {how}") from error
        if "An invalid dataloader was returned" in str(error):
            raise NothingToDo(str(error).split(". Found")[0]) from None
        if stage == "predict" and not is_overridden("predict_step", module):
            what = f"{type(module).__name__} has no predict_step, and its forward cannot take a batch of this data"
            raise NothingToDo(f"{what}: {error}") from error
        raise
    results = logged_since({}, trainer.callback_metrics)
    session.metrics |= results
    session.results = results or session.results


def _show_at_its_step(trainer: Any, path: str) -> None:
    """Let what is logged of an evaluation stand at the step at which its checkpoint was saved, not at 0."""
    from trainworks.runs.plain_data import read_plain

    if loops := read_plain(Path(path)).get("loops", {}).get("fit_loop"):
        steps = loops["epoch_loop.state_dict"]["_batches_that_stepped"]  # the last of which is number steps - 1
        trainer.fit_loop.epoch_loop._batches_that_stepped = max(steps - 1, 0)


def _missing(session: Session, stage: str) -> str | None:
    """Say what a stage would need and neither module nor data have; None if all is there."""
    module, datamodule = session.model, session.datamodule
    name, short = type(module).__name__, "val" if stage == "validate" else stage
    step = "validation_step" if stage == "validate" else f"{stage}_step"
    if not is_overridden(step, module) and not (stage == "predict" and is_overridden("forward", module)):
        return f"{name} has no {step}"
    if not has_loader(short, module, datamodule):
        return f"{name if datamodule is None else type(datamodule).__name__} has no {short}_dataloader"
    splits = getattr(datamodule, "splits", None)  # known after a training
    if stage == "test" and splits and not any(split.partition("/")[0] == "test" for split in splits):
        return "the data has no test split"
    return None
