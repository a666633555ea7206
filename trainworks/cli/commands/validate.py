from typing import Any

from trainworks.cli.command import BOOLEAN, CHECKPOINT_OPTIONS, Command, Option


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
        *CHECKPOINT_OPTIONS,
        Option("calibrate", "whether to fit a temperature and keep it in the checkpoint", choices=BOOLEAN),
    ),
)
