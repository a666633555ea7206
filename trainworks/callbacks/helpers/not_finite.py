from typing import Any

from trainworks.errors import RunFailure


def not_finite(trainer: Any, what: str, number: int) -> RunFailure:
    """Say in which batch something became NaN or infinite, and what helps; `number` counts the batches of the run."""
    epoch, batch = divmod(number, max(int(trainer.num_training_batches), 1))
    clipping = ", trainer.gradient_clip_val 1.0" if trainer.lightning_module.automatic_optimization else ""
    return RunFailure(
        f"{what} batch {batch} of epoch {epoch} (batch {number} of the run, all counted from 0). What was saved "
        f"before is sound. A lower learning rate{clipping} or callbacks.finite.skip true may help. To find samples "
        f"and layer: python train.py replay --resume {trainer.default_root_dir} --batch {number}"
    )
