"""python train.py validate --config C --calibrate true: let probabilities tell how often answers are right."""

from pathlib import Path

from trainworks.callbacks.temperature_scaling import TemperatureScaling
from trainworks.cli.builder import CLI
from trainworks.errors import UsageError
from trainworks.runs.checkpoint_io import DurableCheckpointIO, read_checkpoint
from trainworks.runs.files import is_sharded


def calibrate(cli: CLI) -> None:
    """Let the validation fit a temperature and write it into the checkpoint, which is replaced in one step."""
    path = str(cli.request.ckpt_path)
    if is_sharded(Path(path)):
        raise UsageError("--calibrate true needs one file; make one of this sharded checkpoint: python train.py merge")

    def keep(temperature: float) -> None:
        DurableCheckpointIO().save_checkpoint(read_checkpoint(path) | {"temperature": temperature}, path)

    cli.trainer.callbacks.append(TemperatureScaling(keep))  # type: ignore[attr-defined]
