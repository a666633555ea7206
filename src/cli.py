"""The command line: Lightning's, with one run directory a run and messages a person can read."""

import contextlib
import copy
import enum
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from src.callbacks.start_check import StartCheck
from src.command_line import COMMANDS, CommandLine, Request, log_root
from src.config import Config, UsageError
from src.console import Console, silence_noise
from src.messages import shorten
from src.run import Run, is_main_process

PATH_KEYS = ("save_dir", "dirpath")  # where loggers and callbacks write: relative to the run directory
TOP_LEVEL = ("experiment", "seed_everything", "trainer", "callbacks", "model", "data")
MISTAKES = (ValueError, RuntimeError, AssertionError, OSError, ImportError, MisconfigurationException)

yaml.SafeDumper.add_multi_representer(enum.Enum, lambda dumper, item: dumper.represent_data(item.value))  # Timer's


class Parser(LightningArgumentParser):
    """Lightning's parser, with errors as one short message."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise UsageError, except where the parser only tries whether a value fits."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise UsageError(shorten(message, TOP_LEVEL))


class CLI(LightningCLI):
    """Build model, data and trainer from a request; `execute` then runs its command.

    Args:
        line: What was typed.
        request: The configuration and the run it belongs to.

    Raises:
        UsageError: If the configuration is wrong, before anything is written.
    """

    def __init__(self, line: CommandLine, request: Request) -> None:
        self.line, self.request = line, request
        self.start_check = StartCheck()
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_callback=None,
            parser_class=Parser,
            parser_kwargs={
                "description": __doc__,
                "usage": f"train.py [{'|'.join(COMMANDS)}] --config FILE [--config FILE ...] [--key value ...]",
            },
            subclass_mode_model=True,
            subclass_mode_data=True,
            run=False,
            auto_configure_optimizers=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what this project has beside Trainer, model and data."""
        parser.add_argument("--experiment", type=str | None, help="Name of the experiment; the first config's by default.")
        parser.add_argument(
            "--callbacks",
            type=dict[str, Callback | None],
            default={},
            help="Callbacks by name, in the order they run. The defaults stand in src/defaults.yaml; add your own under "
            "new names, and switch one off with null. Lightning's list trainer.callbacks works beside it.",
        )
        parser.add_argument("--run_name", type=str | None, help="Name of the run; the time it began by default.")
        parser.add_argument("--ckpt_path", type=str | None, help="Checkpoint to evaluate; the newest run's best by default.")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:  # noqa: ANN401
        """Check the merged configuration; print help or the configuration where that was asked for, and stop."""
        if self.line.help:
            _print_help(parser, self.line.help, self.request.config)
        self.config = parser.parse_object(self.request.config)
        self.config_text = _dump(parser, self.config)
        if self.line.print_config:
            print(self.config_text, end="")
            sys.exit(0)

    def before_instantiate_classes(self) -> None:
        """Fix the run directory, since loggers and callbacks write into it."""
        request = self.request
        self.run = request.run or Run.create(log_root(request.config), request.config["experiment"], request.run_name)
        if request.run and is_main_process():
            self.run.lock()
        self.config.trainer.default_root_dir = str(self.run.directory)
        _place(self.config.trainer, self.run.directory)
        _place(self.config.callbacks, self.run.directory)

    def instantiate_classes(self) -> None:
        """Build everything; a new run directory goes again if that fails."""
        try:
            super().instantiate_classes()
        except BaseException as error:
            if self.request.run is None and is_main_process():
                self.run.discard()
            if isinstance(error, MISTAKES):
                raise UsageError(describe(error)) from error
            raise

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        named = {name: item for name, item in self.config_init["callbacks"].items() if item is not None}
        own = config.get("callbacks") or []
        own = own if isinstance(own, list) else [own]
        if any(isinstance(callback, ProgressBar) for callback in own) or config.get("enable_progress_bar") is False:
            named.pop("progress", None)  # there can be only one
        if config.get("enable_checkpointing") is False or config.get("fast_dev_run"):
            named = {name: item for name, item in named.items() if not isinstance(item, ModelCheckpoint)}
        self.best = named.get("best")
        trainer = super()._instantiate_trainer({**config, "callbacks": [*own, *named.values()]}, [self.start_check])
        return trainer

    def execute(self) -> int:
        """Run the command.

        Returns:
            The exit code.
        """
        self.metrics: dict[str, float] = {}
        command, trainer = self.request.command, self.trainer
        if command in (None, "fit"):
            trainer.fit(self.model, self.datamodule)
            self._keep_metrics()
            if trainer.interrupted or trainer.received_sigterm:
                return 143 if trainer.received_sigterm else 130
            if command is None:
                trainer.test(self.model, self.datamodule, self.best_path, verbose=False, weights_only=True)
                self._keep_metrics()
            return 0
        arguments: dict[str, Any] = {"ckpt_path": self.request.ckpt_path, "weights_only": True}
        if command == "predict":
            trainer.predict(self.model, self.datamodule, return_predictions=False, **arguments)
        else:
            getattr(trainer, command)(self.model, self.datamodule, verbose=False, **arguments)
        self._keep_metrics()
        return 0

    @property
    def best_path(self) -> str | None:
        """Path of the best checkpoint of this training, None if none was kept."""
        return (self.best.best_model_path or None) if isinstance(self.best, ModelCheckpoint) else None

    def _keep_metrics(self) -> None:
        values = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        self.metrics |= {name: value for name, value in values.items() if not name.endswith("_step")}


def run(line: CommandLine, request: Request, start: float) -> int:
    """Build and run what was asked for, and keep the run directory's records.

    Args:
        line: What was typed.
        request: The configuration and the run it belongs to.
        start: When the process began, in seconds since 1970.

    Returns:
        The exit code.
    """
    silence_noise()
    console = Console()
    with console.capture(), contextlib.ExitStack() as stack:
        cli = CLI(line, request)
        if not is_main_process():
            return _guarded(cli)[0]
        if request.run is None:
            (cli.run.directory / "config.yaml").write_text(cli.config_text, encoding="utf-8")
            cli.run.start(start, _hardware(cli.trainer))
        stack.enter_context(console.copy_to(cli.run.directory / "train.log"))
        print(_headline(cli))
        status, error = 1, "killed"
        try:
            status, error = _guarded(cli)
        finally:
            if request.run is None:
                cli.run.finish(status, error, cli.metrics)
            else:
                cli.run.add_evaluation(start, str(request.ckpt_path), status, cli.metrics)
        if status == 0:
            print(_summary(cli, time.time() - start))
        return status


def describe(error: BaseException) -> str:
    """Say what a library or a constructor complained of, and where, in a few lines."""
    message = "\n".join(str(error).strip().splitlines()[:10])[:1500] or type(error).__name__
    if isinstance(error, UsageError):
        return message
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{message}\n({type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno})"


def _guarded(cli: CLI) -> tuple[int, str | None]:
    """Run the command and turn what goes wrong into an exit code and a message."""
    try:
        return cli.execute(), None
    except UsageError as error:
        message = str(error)
    except MISTAKES as error:
        if cli.start_check.started:
            traceback.print_exc()
            return 1, describe(error)
        message = describe(error)
    except (Exception, KeyboardInterrupt) as error:
        traceback.print_exc()
        return 1, describe(error)
    except SystemExit as exit_request:  # Lightning exits by itself after Ctrl-C
        return 130 if cli.trainer.interrupted else int(exit_request.code or 0), "interrupted"
    print(f"error: {message}", file=sys.stderr)
    return 2, message


def _print_help(parser: LightningArgumentParser, words: list[str], config: Config) -> NoReturn:
    """Print the parser's help and, with a configuration, that of its model and data."""
    requests = [words]
    if config:
        chosen = {key: config.get(key) for key in ("model", "data")}
        paths = {key: item.get("class_path") if isinstance(item, dict) else item for key, item in chosen.items()}
        requests += [[f"--{key}.help={path}"] for key, path in paths.items() if path]
    for request in requests:
        with contextlib.suppress(SystemExit):
            parser.parse_args(request)
    sys.exit(0)


def _dump(parser: LightningArgumentParser, config: Any) -> str:  # noqa: ANN401
    """Return the configuration as YAML, without what belongs to one run only."""
    config = copy.deepcopy(config)
    for key in ("config", "run_name", "ckpt_path"):
        config.pop(key, None)
    return str(parser.dump(config, skip_unset=False))


def _place(node: Any, directory: Path) -> None:  # noqa: ANN401
    """Put the relative output folders of every class below `node` inside the run directory, in place."""
    if isinstance(node, list):
        for item in node:
            _place(item, directory)
    elif hasattr(node, "items"):
        for key, value in list(node.items()):  # a Namespace lists its nested keys too, dotted
            if key.rpartition(".")[2] in PATH_KEYS and isinstance(value, str | os.PathLike):
                node[key] = str(directory / value)
            else:
                _place(value, directory)


def _hardware(trainer: Trainer) -> dict[str, Any]:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"accelerator": name, "num_devices": trainer.num_devices, "num_nodes": trainer.num_nodes}


def _headline(cli: CLI) -> str:
    if cli.request.run is not None:
        return f"{cli.request.command}: {cli.request.ckpt_path}"
    device = cli.trainer.strategy.root_device.type
    return f"run directory {cli.run.directory} ({device}, {cli.trainer.world_size} process(es), seed {cli.config.seed_everything})"


def _summary(cli: CLI, seconds: float) -> str:
    """Return the closing lines: metrics, checkpoint, run directory, time, and what to type next."""
    command = cli.request.command
    shown = {None: "test/", "fit": "val/", "validate": "val/", "test": "test/"}.get(command, "-")
    lines = [(name, f"{value:.4f}") for name, value in cli.metrics.items() if name.startswith(shown)]
    if cli.request.run is None:
        lines.append(("best checkpoint", cli.best_path or "none was kept; these are the final weights"))
    lines += [("run directory", str(cli.run.directory)), ("seconds", f"{seconds:.1f}")]
    width = max(len(name) for name, _ in lines)
    table = "\n".join(f"{name:<{width}}  {value}" for name, value in lines)
    return f"\n{table}\n\ntensorboard --logdir {cli.run.directory.parent}"
