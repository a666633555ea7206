"""Training and evaluating from Python, as the commands do: the arguments are made the words that one would type."""

import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

from trainworks.errors import RunFailure, UsageError
from trainworks.runs.files import trusting
from trainworks.runs.page import pictures, test_metrics
from trainworks.runtime.cores import shorten_waiting

Config = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class TrainResult:
    """What came of a training or an evaluation."""

    metrics: dict[str, float]  # of the test; of the best checkpoint's validation where there was none
    run_directory: Path
    checkpoint: Path | None  # the best one, or the one that was evaluated; None where none was kept
    trust: bool = False  # whether the checkpoint may hold objects

    @cached_property
    def model(self) -> Any:
        """The module with the weights of the checkpoint, in eval mode; its `predict` takes inputs as they come."""
        from trainworks.models.predict import load_model

        if self.checkpoint is None:
            raise UsageError(f"{self.run_directory} kept no checkpoint")
        return load_model(self.checkpoint, trust=self.trust)

    @property
    def figures(self) -> list[Path]:
        """The pictures in the run directory."""
        return pictures(self.run_directory)


@dataclass(frozen=True)
class Built:
    """What a configuration describes, for those who go on by hand: `trainer.fit(module, datamodule)`."""

    trainer: Any
    module: Any
    datamodule: Any
    run_directory: Path


def train(
    config: Config,
    overrides: Mapping[str, Any] | None = None,
    *,
    run_name: str | None = None,
    resume: str | None = None,
) -> TrainResult:
    """Train as `python train.py --config CONFIG` does, then test the best weights if there is a test.

    Signals, environment, threads and generators are afterwards as before. Ctrl-C, or a notebook's stop button, saves
    the state and raises a KeyboardInterrupt; `resume="auto"` goes on.

    Args:
        config: The path of a configuration, or several, of which later ones are laid over the first.
        overrides: New values by key, such as {"trainer.max_epochs": 3}. {"trust": True} allows objects in checkpoints.
        run_name: Name of the run; the time at which it begins if left out.
        resume: "auto" for the unfinished run of this name (or the newest), or the directory of a run to continue.

    Raises:
        UsageError: If the configuration is wrong, a ValueError; the message is that of the command.
    """
    request, session = _run([], config, overrides, {"run_name": run_name, "resume": resume})
    if session is None:  # it was finished before
        record = request.run.read()
        metrics = test_metrics(record) or record.get("best_metrics", {})
        return _result(metrics, request, request.run, request.run.best_checkpoint)
    checkpoint = session.best_path or session.run.best_checkpoint
    return _result(session.results or session.best_metrics, request, session.run, checkpoint)


def evaluate(checkpoint: str | Path, overrides: Mapping[str, Any] | None = None, stage: str = "test") -> TrainResult:
    """Run the checkpoint of a run over its test samples, or with stage "validate" over the validation samples.

    Raises:
        UsageError: If there is no such checkpoint, or nothing to evaluate it on.
    """
    request, session = _run([stage], (), overrides, {"ckpt_path": str(checkpoint)})
    return _result(session.results, request, session.run, checkpoint)


def build(config: Config, overrides: Mapping[str, Any] | None = None, *, run_name: str | None = None) -> Built:
    """Return trainer, module and data that a configuration describes, and make the directory of their run.

    The generators are seeded as for a training.

    Raises:
        UsageError: If the configuration is wrong.
    """
    from trainworks.cli.builder import build_session, seed
    from trainworks.cli.configuration import Configuration
    from trainworks.cli.console import captured, silence_noise
    from trainworks.cli.defaults import log_root
    from trainworks.cli.facts import fill_in
    from trainworks.runs.continuing.state import Start
    from trainworks.runs.run import Run
    from trainworks.runtime.signals import STOP

    silence_noise()
    STOP.signum = 0  # of a training before
    request = _request(_line(["fit"], config, overrides, {"run_name": run_name}))
    request.config, datamodule = fill_in(request.config)
    configuration = Configuration(request.config, request.line)
    run = Run.create(log_root(request.config), request.config["experiment"], run_name, None, makes=True)
    with captured():
        seed(configuration)
        session = build_session(request, configuration, run, Start(), False, datamodule)
    (run.directory / "config.yaml").write_text(configuration.text, encoding="utf-8")
    return Built(session.trainer, session.model, session.datamodule, run.directory.absolute())


def _result(metrics: Mapping[str, float], request: Any, run: Any, checkpoint: str | Path) -> TrainResult:
    path = Path(checkpoint).absolute()
    found = path if path.exists() else None
    return TrainResult(dict(metrics), run.directory.absolute(), found, request.line.is_trusting)


def _line(words: list[str], config: Config, overrides: Any, options: Mapping[str, str | None]) -> Any:
    """Return the command line that one would type."""
    from trainworks.cli.command_line import CommandLine
    from trainworks.cli.search.series import typed

    shorten_waiting()
    files = [config] if isinstance(config, str | Path) else list(config)
    given = [("config", str(path)) for path in files] + [item for item in options.items() if item[1] is not None]
    return CommandLine.parse([*words, *typed([*given, *(overrides or {}).items()])])


def _request(line: Any) -> Any:
    """Return what a command line asks for."""
    from trainworks.cli.request import Request

    request = Request.build(line)
    request.raises = True
    return request


def _run(words: list[str], config: Config, overrides: Any, options: Mapping[str, str | None]) -> tuple[Any, Any]:
    """Carry out a command; return its request, and its session if there was anything left to do."""
    from trainworks.runtime.memory import without_collection

    with _undisturbed(), without_collection():
        line = _line(words, config, overrides, options)
        with trusting(line.is_trusting):
            return _carried_out(_request(line))


def _carried_out(request: Any) -> tuple[Any, Any]:
    from trainworks.cli.session import run_session
    from trainworks.runtime.signals import Stopped

    if request.finished_run is not None:
        return request, None
    code, failure = run_session(request, time.time()), request.failure
    if isinstance(failure, Stopped):
        raise KeyboardInterrupt(str(failure))
    if code:
        known = isinstance(failure, UsageError | RunFailure) or code != 2
        raise failure if known else UsageError(request.message) from failure
    return request, request.session


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Leave environment, generators and what is warned of as they were."""
    import torch

    from trainworks.datamodules.randomness import kept_generators

    deterministic = torch.are_deterministic_algorithms_enabled()
    devices = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)  # type: ignore[no-untyped-call]
    with patch.dict(os.environ), warnings.catch_warnings(), kept_generators(), torch.random.fork_rng(devices):
        os.environ.pop("PL_GLOBAL_SEED", None)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
