"""Weights & Biases and MLflow: named after the run, continued with it, never fatal."""

import json
import logging
import os
import time
import uuid
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import DummyExperiment  # type: ignore[attr-defined]

from trainworks.cli.config import as_list
from trainworks.errors import UsageError, first_line
from trainworks.runs.class_paths import import_path
from trainworks.runs.files import shown_path, write_in_one_step
from trainworks.runs.run import Run
from trainworks.runtime.launch import is_main_process

SENT_FILE = "sent_steps.json"  # of each tracker, the last step that was sent; written before it is sent
PACKAGES = {WandbLogger: "wandb", MLFlowLogger: "mlflow"}
# by default an answer is awaited for two minutes, eight times
MLFLOW_WAITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
GUARDED = ("log_metrics", "log_hyperparams", "log_image", "log_text", "log_graph", "save", "after_save_checkpoint")


def name_trackers(loggers: Any, run: Run, experiment: str) -> None:
    """Fill in what loggers leave out: the run's name, where they write, and of a run that continues its id there."""
    known = run.read().get("trackers", {})
    for logger in as_list(loggers):
        kind = import_path(getattr(logger, "class_path", None))
        arguments = getattr(logger, "init_args", None) if isinstance(kind, type) else None
        if arguments is None:
            continue
        name, filled, package = run.directory.name, {}, PACKAGES.get(kind)
        if package and find_spec(package) is None:
            raise UsageError(f"{kind.__name__} needs the package {package}; write pip install -e '.[{package}]'")
        if issubclass(kind, WandbLogger):
            # an id of its own: with an offline run nobody could ask for the one that was drawn
            filled = {"project": os.environ.get("WANDB_PROJECT", experiment), "name": name}
            filled["id"] = known.get(kind.__name__) or uuid.uuid4().hex[:8]
        elif issubclass(kind, MLFlowLogger):
            logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of its tables
            for variable, value in MLFLOW_WAITS.items():
                os.environ.setdefault(variable, value)
            root = run.directory.parent.parent.absolute()
            store = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root}/mlflow.db"
            filled = {"experiment_name": experiment, "run_name": name, "tracking_uri": store}
            filled["run_id"] = known.get(kind.__name__)
            if store.startswith("sqlite:"):
                filled["artifact_location"] = (root / "mlartifacts").as_uri()
        for key, value in filled.items():
            if arguments.get(key) in (None, "", "lightning_logs"):  # Lightning's own defaults
                arguments[key] = value


def guard_trackers(loggers: Any, run: Run, continues: bool) -> None:
    """Let no tracker end a training, and send no step twice of one that `continues`."""
    for logger in as_list(loggers):
        if isinstance(logger, Logger) and not isinstance(logger, TensorBoardLogger | CSVLogger):
            guard = Guard(run, type(logger).__name__, continues)
            logger.__class__ = guard.kind_of(type(logger))
            for name in GUARDED:
                if hasattr(logger, name):
                    setattr(logger, name, guard.guarded(getattr(logger, name)))


class Guard:
    """What stands between a training and a tracker: what fails is said in a line, and tried again in the next epoch."""

    def __init__(self, run: Run, name: str, continues: bool) -> None:
        self.run, self.name, self.file = run, name, run.directory / SENT_FILE
        self.sent: dict[str, int] = json.loads(self.file.read_text()) if self.file.is_file() else {}
        self.first_step = self.sent.get(name, -1) + 1 if continues else 0
        self.epoch, self.failed_epoch, self.is_told = -1, -2, False
        self.begin, self.lost = time.monotonic(), 0.0  # when the training began, and seconds that failures took since

    def kind_of(self, kind: Any) -> Any:
        """Return a logger's class with an `experiment` that does nothing while the tracker cannot be reached."""

        class Guarded(kind):
            @property
            def experiment(logger) -> Any:
                if not self.is_left_alone:
                    start = time.monotonic()
                    try:
                        found = super().experiment
                        self.keep_id(logger)
                        return found
                    except AttributeError:  # this logger has none
                        raise
                    except Exception as error:
                        self.fail(error, start)
                return DummyExperiment()

            def end_tracking(logger) -> None:
                """End a run of Weights & Biases, which would take the next training of this process for its own."""
                if isinstance(logger, WandbLogger) and logger._experiment is not None:
                    logger.experiment.finish()

        return Guarded

    def guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method of the logger that fails silently, and sends no step again."""

        def call(*given: Any, **named: Any) -> None:
            step = named.get("step")
            self.epoch = int((named.get("metrics") or {}).get("epoch", self.epoch))
            if self.is_left_alone or (step is not None and step < self.first_step):
                return
            start = time.monotonic()
            try:
                if step is not None and is_main_process() and step > self.sent.get(self.name, -1):
                    self.sent[self.name] = step
                    write_in_one_step(self.file, json.dumps(self.sent))
                method(*given, **named)
            except Exception as error:
                self.fail(error, start)

        return call

    @property
    def is_left_alone(self) -> bool:
        """Whether the tracker failed in this epoch, or failures take a tenth of the time, as where it hangs."""
        return self.failed_epoch >= self.epoch or 10 * (self.lost - 1) > time.monotonic() - self.begin

    def keep_id(self, logger: Any) -> None:
        """Write into run.json which run of the tracker this is, so that it is continued."""
        found, record = getattr(logger, "_run_id", None) or getattr(logger, "_id", None), self.run.read()
        known = record.get("trackers", {})
        if found and record and is_main_process() and known.get(self.name) != found:
            self.run.write(record | {"trackers": known | {self.name: found}})

    def fail(self, error: Exception, start: float) -> None:
        """Say once that the tracker failed, after it was tried at `start`, and leave it alone until the next epoch."""
        self.failed_epoch, self.lost = self.epoch, self.lost + time.monotonic() - start
        if is_main_process() and not self.is_told:
            self.is_told = True
            print(f"{self.name} failed and is tried again each epoch; the training goes on: {first_line(error)}")


def tracker_commands(loggers: list[Any]) -> list[str]:
    """Return what one types, or opens, to look at what the trackers hold."""
    found = []
    for logger in loggers:
        if isinstance(logger, WandbLogger) and logger._experiment is not None:
            run: Any = logger._experiment
            found.append(f"wandb sync {shown_path(Path(str(run.dir)).parent)}" if run.offline else str(run.url))
        elif isinstance(logger, MLFlowLogger):
            found.append(f"mlflow ui --backend-store-uri {logger._tracking_uri}")
    return found
