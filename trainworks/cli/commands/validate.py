from pathlib import Path
from typing import Any

from trainworks.cli.command import BOOLEAN, CHECKPOINT_OPTIONS, Command, Option
from trainworks.errors import UsageError
from trainworks.runs.files import is_sharded


def validate(session: Any) -> None:
    """Validate a checkpoint, and calibrate it where that was asked for."""
    from trainworks.cli.evaluation import evaluate

    if session.request.line.options.get("calibrate") == "true":
        session.trainer.callbacks.append(_calibration(session))
        evaluate(session, "validate", session.request.ckpt_path)
        session.trainer.callbacks.pop()  # what is shown is then validated with the temperature
    evaluate(session, "validate", session.request.ckpt_path)


def _calibration(session: Any) -> Any:
    """Return what fits a temperature and writes it into the checkpoint, which is replaced in one step."""
    from trainworks.callbacks.temperature_scaling import TemperatureScaling
    from trainworks.runs.checkpoint_io import DurableCheckpointIO, read_checkpoint

    path = str(session.request.ckpt_path)
    if is_sharded(Path(path)):
        raise UsageError("--calibrate true needs one file; make one of this sharded checkpoint: python train.py merge")

    def keep(temperature: float) -> None:
        DurableCheckpointIO().save_checkpoint(read_checkpoint(path) | {"temperature": temperature}, path)

    return TemperatureScaling(keep)


COMMAND = Command(
    validate,
    "Run a checkpoint over the validation samples.",
    needs="trainer",
    directory="evaluated",
    options=(
        *CHECKPOINT_OPTIONS,
        Option("calibrate", "whether to fit a temperature and keep it in the checkpoint", choices=BOOLEAN),
    ),
)
