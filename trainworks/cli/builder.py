"""From a whole configuration to trainer, model and data: Lightning's command line, with one run directory a run."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import set_dumper
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, LambdaCallback, ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, instantiate_class
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.nn.parameter import is_lazy

from trainworks.callbacks.start_check import StartCheck
from trainworks.callbacks.thread_limit import ThreadLimit
from trainworks.cli.command_line import COMMANDS, TRYING
from trainworks.cli.config import as_list, place
from trainworks.cli.parser import Parser, mistakes_in_one_line, parse_config
from trainworks.cli.request import Request, log_root, own_defaults
from trainworks.datamodules.base import BaseDataModule
from trainworks.errors import UsageError
from trainworks.runs.checkpoint_io import DATA, MODULE, DurableCheckpointIO
from trainworks.runs.run import TRIAL_VARIABLE, Run
from trainworks.runs.start import Start
from trainworks.runs.yaml_files import UNWRITTEN, dump_yaml, load_file, write_yaml
from trainworks.runtime.launch import is_main_process, job_name, layout
from trainworks.runtime.precision import settle_precision
from trainworks.runtime.steps import skip_idle_work
from trainworks.runtime.strategy import check_start_method, settle_strategy

LOADING = ("num_workers", "storage", "cache_dir", "cache_limit_gb")  # say nothing of what the data is
DESCRIPTION = """Without a command: fit, then test the best checkpoint. Every option can stand in a configuration file
or be typed; init_args may be left out when typing. --config FILE --help also explains the options of that file's model
and data, and --model.help CLASS_PATH those of any class."""

set_dumper("yaml", dump_yaml)  # jsonargparse's own writes texts that it then reads as numbers, such as 1e3


class CLI(LightningCLI):
    """Build model, data and trainer from a request whose references are all resolved, in a run directory."""

    run: Run
    config_text: str  # the whole configuration as YAML, without what belongs to one run only

    def __init__(self, request: Request) -> None:
        self.request = request
        self.start_check = StartCheck()
        self.start, self.remarks, self.extends = Start(), list[str](), False  # of a run that continues
        self.metrics = dict[str, float]()  # all that was logged
        self.results = dict[str, float]()  # of the last test, or else of the last validation
        usage = f"train.py [{'|'.join(COMMANDS)}] --config FILE [--config FILE ...] [--key value ...]"
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_callback=None,
            parser_class=Parser,
            parser_kwargs={"description": DESCRIPTION, "usage": usage},
            subclass_mode_model=True,
            subclass_mode_data=True,
            run=False,
            auto_configure_optimizers=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what this project has beside Trainer, model and data."""
        parser.add_argument("--experiment", type=str | None, help="Its name; that of the first file by default.")
        parser.add_argument("--tf32", type=bool, default=True, help="Whether float32 may be TF32 on a GPU, faster.")
        parser.add_argument(
            "--callbacks",
            type=dict[str, Callback | None],
            default={},
            help="Callbacks by name, in the order they run. configs/defaults.yaml and the library state some; add your "
            "own under a new name; null switches one off. Lightning's list trainer.callbacks works beside it.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Check the merged configuration; print help or the configuration where that was asked for, and stop."""
        request, line = self.request, self.request.line
        if line.help:
            from trainworks.cli.help import print_help

            print_help(parser, line.help, request.config)
        self.config = parse_config(parser, request.config)
        if (seed := self.config.seed_everything) is not None and not 0 <= seed < 2**32:
            raise UsageError(f"seed_everything must be at least 0 and below 2^32, got {seed}")
        if (batches := self.config.trainer.accumulate_grad_batches) < 1:
            raise UsageError(f"trainer.accumulate_grad_batches must be at least 1, got {batches}")
        for limit in ("max_epochs", "max_steps", "limit_train_batches") if line.trains else ():
            if self.config.trainer[limit] == 0:
                raise UsageError(f"trainer.{limit} is 0, so nothing would be trained; write at least 1")
        self.config.pop("config", None)  # the parser's own
        text = parser.dump(self.config, skip_none=False)
        content = yaml.safe_load(text.replace(UNWRITTEN, ""))  # which stands before a text that could be a function
        check_start_method(content["trainer"]["strategy"])
        self.config_text = write_yaml(content)
        data = dict(content.get("data") or {})
        data["init_args"] = {k: v for k, v in (data.get("init_args") or {}).items() if k not in LOADING}
        self.described = {MODULE: content["model"], DATA: data if "class_path" in data else None}
        self.config_dump = content  # for hyperparameters; else Lightning dumps everything once more
        if line.print_config:
            print(self.config_text, end="")
            sys.exit(0)
        if line.trains and request.run is not None:
            from trainworks.runs.resume import LENGTHS, check_same  # only where a run continues

            stored = load_file(str(request.run.directory / "config.yaml"))
            self.remarks = check_same(stored, yaml.safe_load(self.config_text), own_defaults())
            self.extends = any(stored["trainer"][key.split(".")[1]] != self.config[key] for key in LENGTHS)

    def before_instantiate_classes(self) -> None:
        """Fix the run directory, since loggers and callbacks write into it."""
        request, line = self.request, self.request.line
        if line.command in TRYING:
            self.run = Run(Path(tempfile.mkdtemp()))  # what its trials write is of no use to anybody
        elif request.run is not None:
            self.run = request.run
            if is_main_process():
                self.run.lock()
        else:
            name = request.config["experiment"], line.options.get("run_name"), job_name()
            self.run = Run.create(log_root(request.config), *name, makes=is_main_process())
        if not line.evaluates and request.run is not None:
            from trainworks.runs.resume import find_start, read_start

            folder, keeps_last = self.run.directory / "checkpoints", self.config.callbacks.get("last") is not None
            named = request.ckpt_path
            self.start = read_start(Path(named)) if named else find_start(folder, keeps_last)
        self.config.trainer.default_root_dir = str(self.run.directory)
        for key, value in layout().items():
            if self.config.trainer[key] in ("auto", 1):
                self.config.trainer[key] = value
        place(self.config.trainer, self.run.directory)
        place(self.config.callbacks, self.run.directory)

    def instantiate_classes(self) -> None:
        """Build everything; a new run directory goes again if that fails."""
        try:
            with mistakes_in_one_line():
                super().instantiate_classes()
                if self.request.line.trains and not has_loader("train", self.model, self.datamodule):
                    raise UsageError("data is required; write it, or give the model a train_dataloader")
                if lazy := [name for name, weight in self.model.named_parameters() if is_lazy(weight)]:
                    raise UsageError(f"model.{lazy[0]} has no shape before a batch comes; write the layer's sizes")
                settle_precision(self.trainer, self.config.trainer.precision, self.config.tf32)
                settle_strategy(self.trainer, self.model, self.config.trainer.sync_batchnorm)
                if "trainworks.callbacks.init_from" in sys.modules:  # the configuration, or a class of it, asked for it
                    from trainworks.callbacks.init_from import begin_with_trained_weights

                    begins = self.start.path is None and not self.request.line.evaluates
                    begin_with_trained_weights(self.trainer, self.model, begins)
        except BaseException:
            if self.request.run is None and is_main_process():
                self.run.discard()
            raise

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Add the named callbacks to the list of the trainer's own."""
        named = {name: callback for name, callback in self.config_init["callbacks"].items() if callback is not None}
        own = as_list(config["callbacks"])
        if config["enable_progress_bar"] is False or any(isinstance(callback, ProgressBar) for callback in own):
            named.pop("progress", None)  # there can be only one
        if config["enable_checkpointing"] is False or config["fast_dev_run"]:
            named = {name: item for name, item in named.items() if not isinstance(item, Checkpoint)}
        plugins = as_list(config["plugins"])
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            config["plugins"] = [*plugins, DurableCheckpointIO()]
        if isinstance(self.datamodule, BaseDataModule):
            config["use_distributed_sampler"] = False  # it brings its own samplers
        self.best = named.get("best")
        self.start_check.spare = None if self.request.states_monitor else self.best
        describe = LambdaCallback(on_save_checkpoint=lambda *given: given[-1].update(self.described))
        if self.request.line.trains and TRIAL_VARIABLE in os.environ:
            named.pop("figures", None)  # a third of a small trial, and nobody looks at those of a hundred
            callbacks = [*callbacks, *(instantiate_class((), item) for item in json.loads(os.environ[TRIAL_VARIABLE]))]
        line = self.request.line
        begun = None if line.evaluates or self.request.run is None else self.run.num_threads
        limit = ThreadLimit(begun, self.run.keep_threads if line.trains else None)
        config["callbacks"] = [limit, *named.values(), *own]  # of several checkpoints the first is the trainer's
        trainer = super()._instantiate_trainer(config, [*callbacks, self.start_check, describe])
        return skip_idle_work(trainer, self.model)

    @property
    def best_path(self) -> str | None:
        """Path of the best checkpoint of this training, None if none was kept."""
        return (self.best.best_model_path or None) if isinstance(self.best, ModelCheckpoint) else None

    @property
    def best_score(self) -> dict[str, float]:
        """The monitored metric at the best checkpoint, by its name; empty if none was kept."""
        if not isinstance(self.best, ModelCheckpoint) or self.best.best_model_score is None:
            return {}
        return {str(self.best.monitor): float(self.best.best_model_score)}


def has_loader(stage: str, module: LightningModule, datamodule: Any) -> bool:
    """Whether module or data have a method that returns loaders for train, val, test or predict."""
    return any(is_overridden(f"{stage}_dataloader", owner) for owner in (module, datamodule))
