"""python train.py [fit] --config C: train, and without the word fit then test the best weights."""

from lightning.pytorch.loggers import TensorBoardLogger

from trainworks.callbacks.helpers.batch import new_values
from trainworks.cli.builder import CLI
from trainworks.cli.commands.evaluate import NothingToDo, evaluate


def fit(cli: CLI) -> None:
    """Train, from the start or on, and keep what was logged in `cli.metrics` and `cli.results`."""
    trainer, start = cli.trainer, cli.start
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    if start.path is not None:
        trainer.num_sanity_val_steps = 0
        cli.start_check.adopt_monitor(start.metrics)  # the state of the best checkpoint goes by its name
    if cli.request.run is not None:
        trainer.should_stop = start.finished and not cli.extends  # only the test was missing
        for logger in loggers:  # steps that are done again would else be shown twice
            logger._kwargs["purge_step"] = start.step
    trainer.fit(cli.model, cli.datamodule, ckpt_path=start.path, weights_only=True)
    for logger in loggers:
        logger._kwargs.pop("purge_step", None)
    trained = new_values(trainer.callback_metrics, {})
    cli.metrics |= start.metrics | trained
    cli.results = {name: value for name, value in trained.items() if name in cli.start_check.seen} or trained


def fit_and_test(cli: CLI) -> None:
    """Train, then test the best weights, or the last where none were kept, if there is a test."""
    fit(cli)
    try:
        evaluate(cli, "test", cli.best_path)
    except NothingToDo as nothing:
        print(f"{nothing}: nothing is tested")
