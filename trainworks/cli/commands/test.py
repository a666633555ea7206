from typing import Any

from trainworks.cli.command import Command, Option


def test(session: Any) -> None:
    """Test a checkpoint."""
    from trainworks.cli.evaluation import evaluate

    evaluate(session, "test", session.request.ckpt_path)


COMMAND = Command(
    test,
    "Run a checkpoint over the test samples.",
    needs="trainer",
    directory="evaluated",
    options=(
        Option("run_name", "name of the run whose best checkpoint is taken; the newest run by default"),
        Option("ckpt_path", "the checkpoint", "FILE"),
    ),
)
