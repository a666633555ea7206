from typing import Any

from trainworks.cli.command import BOOLEAN, CHECKPOINT_OPTIONS, Command, Option

GOALS, PATTERN = "f1|precision=0.9|recall=0.9", r"f1|(precision|recall)=(0?\.\d*[1-9]\d*|1(\.0*)?)"


def validate(session: Any) -> None:
    """Validate a checkpoint, after a temperature, and then a threshold, was fitted where that was asked for."""
    from trainworks.cli.evaluation import evaluate

    options, path = session.request.line.options, session.request.ckpt_path
    if options.get("calibrate") == "true":
        from trainworks.cli.validation_fits import fit_temperature

        fit_temperature(session, path)
    if "threshold" in options:
        from trainworks.cli.validation_fits import fit_threshold

        fit_threshold(session, path, options["threshold"])
    evaluate(session, "validate", path)


COMMAND = Command(
    validate,
    "Run a checkpoint over the validation samples.",
    needs="trainer",
    directory="evaluated",
    options=(
        *CHECKPOINT_OPTIONS,
        Option("calibrate", "whether to fit a temperature and keep it in the checkpoint", choices=BOOLEAN),
        Option("threshold", "the goal of the threshold to find and keep", GOALS, pattern=PATTERN),
    ),
)
