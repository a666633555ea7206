"""A search as its file describes it, and the study that keeps what came of it."""

import contextlib
import itertools
import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from src.cli.parser import mistakes_in_one_line
from src.errors import UsageError, did_you_mean
from src.runs.run import Run
from src.runs.yaml_files import load_file

try:
    import optuna
except ImportError:
    raise UsageError("sweep needs the package optuna; write pip install -e '.[search]'") from None

KEYS = ("objectives", "space", "num_trials", "sampler", "pruner", "storage")
SAMPLER = {"class_path": "optuna.samplers.TPESampler", "init_args": {"seed": 0}}
PRUNER = {"class_path": "optuna.pruners.NopPruner"}
RUNNING = optuna.trial.TrialState.RUNNING


@dataclass
class Parameter:
    """One key of the configuration and the values that it may have."""

    key: str
    choices: list[Any] = field(default_factory=list)
    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    when: dict[str, Any] = field(default_factory=dict)  # values that parameters before this one must have

    def __post_init__(self) -> None:
        where = f"space.{self.key}"
        if bool(self.choices) == (self.low is not None and self.high is not None):
            raise UsageError(f"{where} needs choices: [...], or low and high")
        if self.low is None or self.high is None:
            return
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in (self.low, self.high)):
            raise UsageError(f"{where}: low and high must be numbers, got {self.low!r} and {self.high!r}")
        if not self.low < self.high or (self.log and self.low <= 0) or (self.step is not None and self.step <= 0):
            got = f"got {self.low}, {self.high}, {self.step}"
            raise UsageError(f"{where}: low must be below high and above 0 if log, step above 0, {got}")
        if self.log and self.step is not None:
            raise UsageError(f"{where}: log and step exclude each other")

    def suggest(self, trial: optuna.Trial) -> Any:
        """Return the trial's value."""
        if self.choices:
            texts = [_text(choice) for choice in self.choices]
            return self.choices[texts.index(trial.suggest_categorical(self.key, texts))]
        if isinstance(self.low, int) and isinstance(self.high, int) and not isinstance(self.step, float):
            return trial.suggest_int(self.key, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, step=self.step, log=self.log)  # type: ignore[arg-type]

    def applies(self, chosen: dict[str, Any]) -> bool:
        """Whether the parameters before it have the values that it asks for."""
        return all(key in chosen and chosen[key] == value for key, value in self.when.items())


@dataclass
class Search:
    """What a file of configs/sweeps says."""

    objectives: dict[str, str]
    space: list[Parameter]
    num_trials: int = 20
    sampler: dict[str, Any] = field(default_factory=lambda: dict(SAMPLER))
    pruner: dict[str, Any] = field(default_factory=lambda: dict(PRUNER))
    storage: str | None = None

    @classmethod
    def read(cls, path: str) -> "Search":
        """Read and check a file."""
        content = load_file(path)
        if unknown := [key for key in content if key not in KEYS]:
            raise UsageError(f"{path}: '{unknown[0]}' is not one of {', '.join(KEYS)}{did_you_mean(unknown[0], KEYS)}")
        objectives, space = content.get("objectives"), content.get("space")
        modes = objectives.values() if isinstance(objectives, dict) else [None]
        if not objectives or not all(mode in ("min", "max") for mode in modes):
            got = f"got {objectives}"
            raise UsageError(f"{path}: objectives must map metrics to min or max, as val/accuracy: max; {got}")
        if not isinstance(space, dict) or not space:
            example = "model.optimizer.lr: {low: 1.0e-4, high: 0.1}"
            raise UsageError(f"{path}: space must map keys to values, as {example}")
        parameters: list[Parameter] = []
        for key, item in space.items():
            known = [name for name in Parameter.__dataclass_fields__ if name != "key"]
            if not isinstance(item, dict) or (wrong := [name for name in item if name not in known]):
                got = f"'{wrong[0]}'{did_you_mean(wrong[0], known)}" if isinstance(item, dict) else repr(item)
                raise UsageError(f"{path}: space.{key} takes {', '.join(known)}; got {got}")
            parameters.append(Parameter(str(key), **item))
            if missing := [name for name in parameters[-1].when if name not in [p.key for p in parameters[:-1]]]:
                raise UsageError(f"{path}: space.{key}.when names {missing[0]}, which is not above it in space")
        count = content.get("num_trials", 20)
        if not isinstance(count, int) or count < 1:
            raise UsageError(f"{path}: num_trials must be at least 1, got {count}")
        named = {key: content[key] for key in ("sampler", "pruner", "storage") if content.get(key) is not None}
        for key in ("sampler", "pruner"):
            if isinstance(named.get(key), str):
                named[key] = {"class_path": named[key]}
        if named.get("pruner", PRUNER) != PRUNER and len(objectives) > 1:
            raise UsageError(f"{path}: a pruner needs one objective; leave it out, or all objectives but one")
        return cls(objectives, parameters, count, **named)

    def corners(self) -> Iterator[dict[str, Any]]:
        """Yield few sets of values in which each value that is named occurs, to be checked."""
        for number in range(max(2, *(len(parameter.choices) for parameter in self.space))):
            chosen: dict[str, Any] = {}
            for parameter in self.space:
                if parameter.applies(chosen):
                    values = parameter.choices or [parameter.low, parameter.high]
                    chosen[parameter.key] = values[number % len(values)]
            yield chosen


@dataclass
class Study:
    """The trials of a search, in a file or a database that several processes share.

    Each trial is a run directory `<name>-<number>` beside the study's own, and belongs to the process that holds its
    lock: a trial that is said to run, but whose lock is free, was left by a process that died.
    """

    search: Search
    directory: Path

    def __post_init__(self) -> None:
        from src.callbacks.trial_report import open_storage
        from src.models.predict import build

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        (self.directory / "locks").mkdir(parents=True, exist_ok=True)
        self.name = "/".join(self.directory.parts[-2:])
        self.where = self.search.storage or str(self.directory / "study.log")
        sampler = dict(self.search.sampler)
        if sampler["class_path"].endswith(".GridSampler") and "search_space" not in (sampler.get("init_args") or {}):
            if ranges := [parameter.key for parameter in self.search.space if not parameter.choices]:
                raise UsageError(f"GridSampler needs choices, and space.{ranges[0]} is a range; write its values")
            grid = {parameter.key: [_text(value) for value in parameter.choices] for parameter in self.search.space}
            sampler["init_args"] = {"search_space": grid} | (sampler.get("init_args") or {})
            self.search.num_trials = min(self.search.num_trials, len(list(itertools.product(*grid.values()))))
        with mistakes_in_one_line():
            parts = {
                "sampler": build(sampler, optuna.samplers.BaseSampler, "sampler"),
                "pruner": build(self.search.pruner, optuna.pruners.BasePruner, "pruner"),
            }
        self.optuna = optuna.create_study(
            study_name=self.name,
            storage=open_storage(self.where),
            **parts,
            directions=["maximize" if mode == "max" else "minimize" for mode in self.search.objectives.values()],
            load_if_exists=True,
        )
        self.optuna.stop = lambda: self.optuna.set_user_attr("exhausted", True)  # type: ignore[method-assign]
        self._lock = FileLock(self.directory / "locks" / "study")

    def run_of(self, number: int, seed: int | None = None) -> Run:
        """Return the run directory of a trial, or of its repetition with another seed."""
        ending = "" if seed is None else f"-seed{seed}"
        return Run(self.directory.with_name(f"{self.directory.name}-{number:03}{ending}"))

    def check_same(self, words: list[str]) -> None:
        """Refuse to go on with a study that was begun with other settings."""
        wanted = repr([words, self.search.objectives, self.search.space])
        stored = self.optuna.user_attrs.get("asked", wanted)
        if stored != wanted:
            advice = "write another --run_name, or type what was typed then"
            raise UsageError(f"{self.directory} was begun with another space or other settings; {advice}")
        self.optuna.set_user_attr("asked", wanted)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep the other processes of this study from choosing trials meanwhile."""
        with self._lock:
            yield

    @contextlib.contextmanager
    def next_trial(self) -> Iterator[tuple[optuna.Trial, dict[str, Any]] | None]:
        """Hold a trial and its values: one whose process died, else a new one; None if there are enough."""
        with self.alone():
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
        trials = self.optuna.get_trials(deepcopy=False)
        for trial in trials:
            lock = FileLock(self.directory / "locks" / f"{trial.number:03}", timeout=0)
            if trial.state == RUNNING:
                with contextlib.suppress(Timeout):
                    lock.acquire()
                    if self.optuna.get_trials(deepcopy=False)[trial.number].state != RUNNING:  # it has just ended
                        lock.release()
                        continue
                    run = self.run_of(trial.number)
                    if run.directory.exists() and not (run.directory / "config.yaml").exists():
                        shutil.rmtree(run.directory)  # its process died before it began
                    return optuna.trial.Trial(self.optuna, trial._trial_id), lock
        if len(trials) >= self.search.num_trials or self.optuna.user_attrs.get("exhausted"):
            return None, None
        new = self.optuna.ask()
        lock = FileLock(self.directory / "locks" / f"{new.number:03}", timeout=0)
        lock.acquire()
        return new, lock

    def described(self, trial: optuna.Trial) -> str:
        """Return what a training needs to know of its trial, for `TrialReport`."""
        (metric, *_), pruner = self.search.objectives, self.search.pruner
        names = {"storage": self.where, "study": self.name, "trial_id": trial._trial_id}
        return json.dumps(names | {"metric": metric, "pruner": pruner})

    @property
    def best(self) -> list[Any]:
        """Finished trials, the best first; with several objectives those that no other beats in all of them."""
        done = self.optuna.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
        if len(self.search.objectives) > 1:
            return list(self.optuna.best_trials)
        sign = -1 if "max" in self.search.objectives.values() else 1
        return sorted(done, key=lambda trial: sign * trial.value)


def values_text(chosen: dict[str, Any]) -> list[tuple[str, str]]:
    """Return values as they would be typed."""
    return [(key, _text(value)) for key, value in chosen.items()]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
