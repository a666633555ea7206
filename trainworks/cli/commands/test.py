from typing import Any

from trainworks.cli.command import CHECKPOINT_OPTIONS, Command


def test(session: Any) -> None:
    """Test a checkpoint."""
    from trainworks.cli.evaluation import evaluate

    evaluate(session, "test", session.request.ckpt_path)


COMMAND = Command(
    test,
    "Run a checkpoint over the test samples.",
    needs="trainer",
    directory="evaluated",
    options=CHECKPOINT_OPTIONS,
)
