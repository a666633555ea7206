from typing import Any

from trainworks.cli.command import Command, Option


def replay(session: Any) -> None:
    """Repeat the training from a checkpoint up to one batch, and print what in that batch is not finite."""
    from trainworks.callbacks.batch_inspector import BatchInspector, Inspected
    from trainworks.callbacks.finite_loss import FiniteLoss
    from trainworks.callbacks.last_checkpoint import LastCheckpoint

    trainer, batch = session.trainer, session.request.line.numbers["batch"]
    trainer.loggers = []
    for callback in trainer.callbacks:
        if isinstance(callback, LastCheckpoint):
            callback.enabled = False
    stays = [item for item in trainer.callbacks if not isinstance(item, FiniteLoss)]
    trainer.callbacks = [BatchInspector(batch), *(item for item in stays if not hasattr(item, "best_model_path"))]
    try:
        trainer.fit(session.model, session.datamodule, ckpt_path=session.start.path, weights_only=True)
    except Inspected as inspected:
        print(inspected)
    else:
        print(f"the training ended before batch {batch}")


COMMAND = Command(
    replay,
    "Repeat a run up to one batch, and say what in it is not finite.",
    needs="trainer",
    directory="replayed",
    options=(
        Option("resume", "the directory of a run, or one of its checkpoints", "RUN", required=True),
        Option("batch", "the number of a batch, counted over all epochs from 0", "N", minimum=0, required=True),
    ),
)
