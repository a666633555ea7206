"""A trainer that continues a run."""

from lightning.pytorch import Trainer

from trainworks.runs.continuing.checkpoint import Start


def continue_training(trainer: Trainer, start: Start, extends: bool) -> None:
    """Set a trainer up before it continues: what was done is not done again.

    Args:
        trainer: The trainer.
        start: Where it continues.
        extends: Whether it shall train for longer than the run began to.
    """
    if start.path is not None:
        trainer.num_sanity_val_steps = 0
    trainer.should_stop = start.finished and not extends  # only the test was missing
