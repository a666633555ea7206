from typing import Any

from trainworks.cli.command import TRUST, Command, Option
from trainworks.errors import UsageError


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
    inspector = BatchInspector(batch)
    trainer.callbacks = [inspector, *(item for item in stays if not hasattr(item, "best_model_path"))]
    try:
        trainer.fit(session.model, session.datamodule, ckpt_path=session.start.path, weights_only=True)
    except Inspected as inspected:
        print(inspected)
    else:
        first, last = inspector.first_batch, trainer.fit_loop.total_batch_idx
        went = "no batch" if first is None else f"the batches {first} to {last}"
        advice = "an older checkpoint begins earlier, such as --resume RUN/checkpoints/last-1.ckpt"
        raise UsageError(f"--batch {batch}: from {session.start.path} the run goes through {went}; {advice}")


COMMAND = Command(
    replay,
    "Repeat a run up to one batch, and say what in it is not finite.",
    needs="trainer",
    directory="replayed",
    options=(
        Option("resume", "the directory of a run, or one of its checkpoints", "RUN", required=True),
        Option("batch", "the number of a batch, counted over all epochs from 0", "N", minimum=0, required=True),
        TRUST,
    ),
)
