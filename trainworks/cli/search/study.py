"""The study that keeps what came of a search."""

import contextlib
import math
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trainworks.callbacks.trial_report import open_storage, open_trial
from trainworks.cli.parser import mistakes_in_one_line
from trainworks.cli.search.space import Search, as_text
from trainworks.errors import UsageError
from trainworks.models.predict import build
from trainworks.runs.run import Run

try:
    import optuna
except ImportError:
    raise UsageError("sweep needs the package optuna; write pip install -e '.[search]'") from None

RUNNING = optuna.trial.TrialState.RUNNING


@dataclass
class Study:
    """The trials of a search, in a file or a database that several processes share.

    Each trial is a run directory `<name>-<number>` beside the study's own, and belongs to the process that holds its
    lock: a trial that is said to run, but whose lock is free, was left by a process that died.
    """

    search: Search
    directory: Path

    def __post_init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        if (self.directory / "run.json").exists():
            raise UsageError(f"{self.directory} is a run, not a search; write another --run_name")
        (self.directory / "locks").mkdir(parents=True, exist_ok=True)
        self.name = "/".join(self.directory.parts[-2:])
        self.where = self.search.storage or str(self.directory / "study.log")
        self._fill_in_grid()
        with mistakes_in_one_line():
            pruner, sampler = build(self.search.pruner, optuna.pruners.BasePruner, "pruner"), self._sampler(0)
        self.lock = FileLock(self.directory / "locks" / "study")  # held while trials are chosen, and at the end
        with self.lock:  # a database's tables are made by one process
            try:
                self.storage = open_storage(self.where)
            except Exception as error:  # whatever a database's package raises
                raise UsageError(f"storage {self.where} cannot be opened: {str(error).splitlines()[0]}") from None
            self.optuna = optuna.create_study(
                study_name=self.name,
                storage=self.storage,
                sampler=sampler,
                pruner=pruner,
                directions=["maximize" if mode == "max" else "minimize" for mode in self.search.objectives.values()],
                load_if_exists=True,
            )
        self.optuna.stop = lambda: self.optuna.set_user_attr("exhausted", True)  # type: ignore[method-assign]

    def _fill_in_grid(self) -> None:
        """Let a GridSampler without a grid go through all choices."""
        sampler, space = self.search.sampler, self.search.space
        if not sampler["class_path"].endswith(".GridSampler") or "search_space" in (sampler.get("init_args") or {}):
            return
        if ranges := [parameter.key for parameter in space if not parameter.choices]:
            raise UsageError(f"GridSampler needs choices, and space.{ranges[0]} is a range; write its values")
        grid = {parameter.key: [as_text(value) for value in parameter.choices] for parameter in space}
        self.search.sampler = sampler | {"init_args": {"search_space": grid} | (sampler.get("init_args") or {})}
        self.search.num_trials = min(self.search.num_trials, math.prod(map(len, grid.values())))

    def run_of(self, number: int, seed: int | None = None) -> Run:
        """Return the run directory of a trial, or of its repetition with another seed."""
        ending = "" if seed is None else f"-seed{seed}"
        return Run(self.directory.with_name(f"{self.directory.name}-{number:03}{ending}"))

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Return the sampler for a trial; processes that all began with one seed would choose the same values."""
        sampler = self.search.sampler
        arguments = dict(sampler.get("init_args") or {})
        if isinstance(arguments.get("seed"), int) and not sampler["class_path"].endswith(".QMCSampler"):
            arguments["seed"] += number
        return build(sampler | {"init_args": arguments}, optuna.samplers.BaseSampler, "sampler")

    def check_same(self, words: list[str]) -> None:
        """Refuse to go on with a study that was begun with other settings."""
        wanted = repr([words, self.search.objectives, self.search.space])
        stored = self.optuna.user_attrs.get("asked", wanted)
        if stored != wanted:
            raise UsageError(f"{self.directory} was begun with another space or other settings; take a new --run_name")
        self.optuna.set_user_attr("asked", wanted)

    @contextlib.contextmanager
    def next_trial(self) -> Iterator[tuple[optuna.Trial, dict[str, Any]] | None]:
        """Hold a trial and its values: one whose process died, else a new one; None if there are enough."""
        with self.lock:
            found, lock = self._claim()
            chosen: dict[str, Any] = {}
            for parameter in self.search.space if found else ():
                if parameter.applies(chosen):
                    chosen[parameter.key] = parameter.suggest(found)
        try:
            yield (found, chosen) if found else None
        finally:
            if lock:
                lock.release()

    def _claim(self) -> tuple[Any, FileLock | None]:
        trials = self.trials
        for trial in [trial for trial in trials if trial.state == RUNNING]:
            lock = self._lock_of(trial.number)
            with contextlib.suppress(Timeout):
                lock.acquire()
                if self.trials[trial.number].state != RUNNING:  # it has just ended
                    lock.release()
                    continue
                run = self.run_of(trial.number)
                if run.directory.exists() and not (run.directory / "config.yaml").exists():
                    shutil.rmtree(run.directory)  # its process died before it began
                return open_trial(self.optuna, self.storage, trial.number), lock
        if len(trials) >= self.search.num_trials or self.optuna.user_attrs.get("exhausted"):
            return None, None
        self.optuna.sampler = self._sampler(len(trials))
        new = self.optuna.ask()
        lock = self._lock_of(new.number)
        lock.acquire()
        return new, lock

    def _lock_of(self, number: int) -> FileLock:
        """Return the lock that the process which trains a trial holds."""
        return FileLock(self.directory / "locks" / f"{number:03}", timeout=0)

    def callbacks(self, number: int) -> list[dict[str, Any]]:
        """Return what a training of a trial gets besides, by class path; Optuna prunes by a single objective only."""
        pruner = self.search.pruner if len(self.search.objectives) == 1 else None
        arguments = {"storage": self.where, "study": self.name, "number": number, "pruner": pruner}
        reported = [arguments | {"metric": metric} for metric in self.search.objectives]
        return [{"class_path": "trainworks.callbacks.TrialReport", "init_args": each} for each in reported]

    def discard(self) -> None:
        """Remove a study none of whose trials took a step: there is nothing to protect, and it may be begun anew."""
        runs = [self.run_of(trial.number) for trial in self.trials]
        ended = all(trial.state.is_finished() for trial in self.trials)
        if ended and not any((run.directory / "checkpoints").exists() for run in runs):
            optuna.delete_study(study_name=self.name, storage=self.storage)
            for directory in (self.directory, *(run.directory for run in runs)):
                shutil.rmtree(directory, ignore_errors=True)

    @property
    def trials(self) -> list[Any]:
        """All trials, by number."""
        return self.optuna.get_trials(deepcopy=False)

    @property
    def best(self) -> list[Any]:
        """Finished trials, the best first; with several objectives those that no other beats in all of them."""
        if len(self.search.objectives) > 1:
            return list(self.optuna.best_trials)
        done = [trial for trial in self.trials if trial.state == optuna.trial.TrialState.COMPLETE]
        return sorted(done, key=lambda trial: trial.value, reverse="max" in self.search.objectives.values())
