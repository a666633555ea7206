"""From a checked configuration to trainer, model and data."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import instantiate_class
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.nn.parameter import is_lazy

from trainworks.callbacks.start_check import StartCheck
from trainworks.callbacks.thread_limit import ThreadLimit
from trainworks.cli.config import as_list, put_inside
from trainworks.cli.configuration import Configuration
from trainworks.cli.parser import mistakes_in_one_line
from trainworks.cli.request import Request
from trainworks.datamodules.base import BaseDataModule
from trainworks.errors import UsageError
from trainworks.runs.checkpoint_io import METRICS, DurableCheckpointIO
from trainworks.runs.class_paths import import_path
from trainworks.runs.continuing.state import Start
from trainworks.runs.files import is_checkpoint
from trainworks.runs.plain_data import read_plain
from trainworks.runs.run import Run
from trainworks.runtime.devices import settle_precision
from trainworks.runtime.launch import layout
from trainworks.runtime.steps import skip_idle_work
from trainworks.runtime.strategy import settle_strategy


@dataclass
class Session:
    """All that a command with a trainer works with."""

    request: Request
    configuration: Configuration
    run: Run
    start: Start  # where a run continues
    extends: bool  # whether a run that continues shall train for longer than it began to
    trainer: Trainer
    model: LightningModule
    datamodule: LightningDataModule | None
    start_check: StartCheck
    metrics: dict[str, float] = field(default_factory=dict)  # all that was logged
    # of the last test or, where no best checkpoint was kept, of the last validation
    results: dict[str, float] = field(default_factory=dict)
    tested: bool = False  # whether a training was followed by a test, to which `results` belong

    @property
    def best_path(self) -> str | None:
        """Path of the best checkpoint of this training, None if none was kept."""
        return getattr(self.start_check.best, "best_model_path", None) or None

    @property
    def best_score(self) -> dict[str, float]:
        """The monitored metric at the best checkpoint, by its name; empty if none was kept."""
        score = getattr(self.start_check.best, "best_model_score", None)
        return {} if score is None else {str(self.start_check.best.monitor): float(score)}

    @cached_property
    def best_point(self) -> dict[str, Any]:
        """Epoch, from 1, and step of the best checkpoint, and what its validation logged; empty if none was kept."""
        if self.best_path is None or not is_checkpoint(Path(self.best_path)):
            return {}
        kept = read_plain(Path(self.best_path))
        metrics = {**kept.get(METRICS, {}), **self.best_score}
        return {"best_metrics": metrics, "best_epoch": kept["epoch"] + 1, "best_step": kept["global_step"]}

    @property
    def best_metrics(self) -> dict[str, float]:
        """What the validation of the best checkpoint logged, read once the training is over; empty if none was kept."""
        return self.best_point.get("best_metrics", {})


def seed(configuration: Configuration) -> None:
    """Seed all generators, and keep a seed that was drawn."""
    wanted = configuration.parsed.seed_everything
    if wanted is not False:
        configuration.parsed.seed_everything = seed_everything(None if wanted is True else wanted, workers=True)


def build_session(
    request: Request, configuration: Configuration, run: Run, start: Start, extends: bool, datamodule: Any
) -> Session:
    """Build everything for a command that writes into the directory of `run`; a datamodule may be built already.

    What cannot be built as the configuration says, or does not go together, is a UsageError.
    """
    parsed, parser, line = configuration.parsed, configuration.parser, request.line
    _direct_outputs(parsed, run, request.config["experiment"])
    if line.trains and request.run is not None:
        from trainworks.runs.event_files import first_repeated_step

        _hide_repeated_steps(parsed.trainer.logger, first_repeated_step(run.directory, start))
    parser.save_plain_hyperparameters(LightningModule, configuration.content["model"])
    if datamodule is not None:
        parsed = parsed.clone()
        parsed.pop("data")
    elif parsed.get("data") is not None:
        parser.save_plain_hyperparameters(LightningDataModule, configuration.content["data"])
    with mistakes_in_one_line():
        built = parser.instantiate(parsed)
        model, datamodule = built.model, datamodule or built.get("data")
        if line.trains and not has_loader("train", model, datamodule):
            raise UsageError("data is required; write it, or give the model a train_dataloader")
        if lazy := [name for name, weight in model.named_parameters() if is_lazy(weight)]:
            raise UsageError(f"model.{lazy[0]} has no shape before a batch comes; write the layer's sizes")
        named = {name: callback for name, callback in built.callbacks.items() if callback is not None}
        check = StartCheck(None if request.states_monitor else named.get("best"), configuration.described)
        threads = _thread_limit(request, configuration, run, start.step if extends else None)
        if _are_tracked(parsed):
            from trainworks.cli.trackers import guard_trackers

            guard_trackers(built.trainer["logger"], run, continues=start.path is not None and not line.evaluates)
        trainer = _build_trainer(built.trainer, [threads, check], named, _trial_callbacks(request, named), datamodule)
        check.best = named.get("best")
        skip_idle_work(trainer, model)
        settle_precision(trainer, parsed.trainer.precision, parsed.tf32)
        settle_strategy(trainer, model, parsed.trainer.sync_batchnorm)
        for callback in [*trainer.callbacks]:  # type: ignore[attr-defined]
            if hasattr(callback, "before_data"):
                callback.before_data(trainer, model, begins=start.path is None and not line.evaluates)
    return Session(request, configuration, run, start, extends, trainer, model, datamodule, check)


def _direct_outputs(parsed: Any, run: Run, experiment: str) -> None:
    """Let loggers and callbacks write into the run directory, and the trainer have what the launcher laid out."""
    parsed.trainer.default_root_dir = str(run.directory)
    if _are_tracked(parsed):
        from trainworks.cli.trackers import name_trackers

        name_trackers(parsed.trainer.logger, run, experiment)
    for key, value in layout().items():
        if parsed.trainer[key] in ("auto", 1):
            parsed.trainer[key] = value
    put_inside(run.directory, parsed.trainer)
    put_inside(run.directory, parsed.callbacks)


def _are_tracked(parsed: Any) -> bool:
    """Whether there are loggers beside TensorBoard's."""
    paths = [getattr(logger, "class_path", None) for logger in as_list(parsed.trainer.logger)]
    return any(path and not path.endswith(".TensorBoardLogger") for path in paths)


def _hide_repeated_steps(loggers: Any, step: int) -> None:
    """Let TensorBoard leave out what was written of the steps from this one on: they are done again."""
    for logger in as_list(loggers):
        kind = import_path(getattr(logger, "class_path", None))
        if isinstance(kind, type) and issubclass(kind, TensorBoardLogger):
            logger["dict_kwargs"] = {**(logger.get("dict_kwargs") or {}), "purge_step": step}


def _build_trainer(
    options: Any, first: list[Callback], named: dict[str, Callback], last: list[Callback], datamodule: Any
) -> Trainer:
    """Build the trainer with the named callbacks and those of its own list between some others."""
    own = as_list(options["callbacks"])
    if options["enable_progress_bar"] is False or any(isinstance(callback, ProgressBar) for callback in own):
        named.pop("progress", None)  # there can be only one
    if options["enable_checkpointing"] is False or options["fast_dev_run"]:
        for name in [name for name, item in named.items() if isinstance(item, Checkpoint)]:
            del named[name]
    plugins = as_list(options["plugins"])
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        options["plugins"] = [*plugins, DurableCheckpointIO()]
    if isinstance(datamodule, BaseDataModule):
        options["use_distributed_sampler"] = False  # it brings its own samplers
    options["callbacks"] = [*first, *named.values(), *own, *last]  # of several checkpoints the first is the trainer's
    return Trainer(**options)


def _trial_callbacks(request: Request, named: dict[str, Callback]) -> list[Callback]:
    """Return what a trial of a search gets beside the configuration; it draws no figures."""
    if request.callbacks:
        named.pop("figures", None)  # a third of a small trial, and nobody looks at those of a hundred
    return [instantiate_class((), description) for description in request.callbacks]


def _thread_limit(request: Request, configuration: Configuration, run: Run, extended_from: int | None) -> ThreadLimit:
    continues = request.run is not None and not request.line.evaluates

    def keep(number: int) -> None:
        run.keep_threads(number)
        if extended_from is not None:
            from trainworks.runs.continuing.settings import store_lengths  # every process has compared them by now

            run.write(run.read() | {"extended_from": extended_from})
            store_lengths(run.directory / "config.yaml", configuration.content)

    return ThreadLimit(run.num_threads if continues else None, keep if request.line.trains else None)


def has_loader(stage: str, module: LightningModule, datamodule: Any) -> bool:
    """Whether module or data have a method that returns loaders for train, val, test or predict."""
    return any(is_overridden(f"{stage}_dataloader", owner) for owner in (module, datamodule))
