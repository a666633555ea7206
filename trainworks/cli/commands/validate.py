from typing import Any

from trainworks.cli.command import BOOLEAN, Command, Option


def validate(session: Any) -> None:
    """Validate a checkpoint, and calibrate it where that was asked for."""
    from trainworks.cli.evaluation import calibrate, evaluate

    if session.request.line.options.get("calibrate") == "true":
        calibrate(session)
    evaluate(session, "validate", session.request.ckpt_path)


COMMAND = Command(
    validate,
    "Run a checkpoint over the validation samples.",
    needs="trainer",
    directory="evaluated",
    options=(
        Option("run_name", "name of the run whose best checkpoint is taken; the newest run by default"),
        Option("ckpt_path", "the checkpoint", "FILE"),
        Option("calibrate", "whether to fit a temperature and keep it in the checkpoint", choices=BOOLEAN),
    ),
)
