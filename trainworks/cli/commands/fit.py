from dataclasses import replace
from typing import Any

from trainworks.cli.command import TRUST, Command, Option


def fit(session: Any) -> None:
    """Train, from the start or on, and keep what was logged in `session.metrics` and `session.results`."""
    from trainworks.runtime.logged_metrics import logged_since

    trainer, start = session.trainer, session.start
    if start.path is not None:
        session.start_check.adopt_monitor(trainer, start.metrics)  # the state of the best checkpoint goes by its name
        trainer.num_sanity_val_steps = 0
        trainer.should_stop = start.finished and not session.extends  # only the test was missing
    trainer.fit(session.model, session.datamodule, ckpt_path=start.path, weights_only=True)
    trained = logged_since({}, trainer.callback_metrics)
    session.metrics |= start.metrics | trained
    if session.best_path is None:  # else its own metrics count
        validated = {name: value for name, value in trained.items() if name in session.start_check.seen}
        session.results = validated or trained


def fit_and_test(session: Any) -> None:
    """Train, then test the best weights, or the last where none were kept, if there is a test.

    Before that a task whose class states a number as its threshold, as detectors do, gets the one that is best.
    """
    from trainworks.cli.evaluation import NothingToDo, evaluate
    from trainworks.models.base import BaseModule

    fit(session)
    has_number = isinstance(getattr(type(session.model), "threshold", None), float)
    if session.best_path is not None and has_number and isinstance(session.model, BaseModule):
        from trainworks.cli.validation_fits import fit_default_threshold

        fit_default_threshold(session)
    try:
        evaluate(session, "test", session.best_path)
        session.tested = True
    except NothingToDo as nothing:
        print(f"{nothing}: nothing is tested")


COMMAND = Command(
    fit,
    "Train, and test nothing.",
    needs="trainer",
    directory="new",
    options=(
        Option("run_name", "name of the run; the time at which it begins by default"),
        Option(
            "resume",
            "continue a run: auto for the unfinished one of this name (or the newest), or its directory",
            "RUN",
        ),
        TRUST,
    ),
)
FIT_AND_TEST = replace(COMMAND, run=fit_and_test, summary="Train, then test the best checkpoint.")
