"""A search as its file describes it: search space, objectives, sampler and pruner."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from trainworks.errors import UsageError, did_you_mean
from trainworks.runs.yaml_files import load_file

DEFAULT_SAMPLER = {"class_path": "optuna.samplers.TPESampler", "init_args": {"seed": 0}}
DEFAULT_PRUNER = {"class_path": "optuna.pruners.NopPruner"}
MAX_CHECKED_CHOICES = 4  # of numbers; each choice takes a quarter of a second to check


@dataclass
class Parameter:
    """A key of the configuration and the values that it may take."""

    key: str
    choices: list[Any] = field(default_factory=list)
    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    when: dict[str, Any] = field(default_factory=dict)  # values that earlier parameters must have

    def __post_init__(self) -> None:
        where = f"space.{self.key}"
        is_list = isinstance(self.choices, list) and isinstance(self.when, dict)
        if not is_list or bool(self.choices) == (self.low is not None and self.high is not None):
            raise UsageError(f"{where} needs choices: [...], or low and high; and when, if there is one, key: value")
        if self.low is None or self.high is None:
            return
        numbers = {"low": self.low, "high": self.high, "step": 1 if self.step is None else self.step}
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in numbers.values()):
            raise UsageError(f"{where}: low, high and step must be numbers, got {numbers}")
        wrong_step = self.step is not None and (self.log or self.step <= 0)
        if not self.low < self.high or (self.log and self.low <= 0) or wrong_step:
            got = f"got {self.low}, {self.high}, {self.step}"
            raise UsageError(f"{where}: low must be below high and above 0 if log, step above 0 and without log; {got}")

    def suggest(self, trial: Any) -> Any:
        """Return the value that the trial suggests."""
        if self.choices:
            texts = [as_text(choice) for choice in self.choices]
            return self.choices[texts.index(trial.suggest_categorical(self.key, texts))]
        if isinstance(self.low, int) and isinstance(self.high, int) and not isinstance(self.step, float):
            return trial.suggest_int(self.key, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, step=self.step, log=self.log)

    def applies(self, chosen: dict[str, Any]) -> bool:
        """Whether the earlier parameters have the values of `when`."""
        return all(key in chosen and chosen[key] == value for key, value in self.when.items())


@dataclass
class Search:
    """The content of a file of configs/sweeps."""

    objectives: dict[str, str]
    space: list[Parameter]
    num_trials: int = 20
    sampler: dict[str, Any] = field(default_factory=DEFAULT_SAMPLER.copy)
    pruner: dict[str, Any] = field(default_factory=DEFAULT_PRUNER.copy)
    storage: str | None = None

    @classmethod
    def read(cls, path: str, typed: dict[str, Any]) -> "Search":
        """Read and check a file; keys that were typed take the place of those in it."""
        content = load_file(path, "--sweep") | typed
        known: Any = cls.__dataclass_fields__
        if unknown := [key for key in content if key not in known]:
            near = did_you_mean(unknown[0], known)
            raise UsageError(f"{path}: '{unknown[0]}' is not one of {', '.join(known)}{near}")
        objectives, space = content.get("objectives") or None, content.get("space") or None
        if not isinstance(objectives, dict) or not all(mode in ("min", "max") for mode in objectives.values()):
            raise UsageError(f"{path}: objectives must map metrics to min or max, as val/loss: min; got {objectives}")
        if not isinstance(space, dict):
            raise UsageError(f"{path}: space must map keys to values, as data.batch_size: {{choices: [32, 64]}}")
        parameters: list[Parameter] = []
        for key, item in space.items():
            known = [name for name in Parameter.__dataclass_fields__ if name != "key"]
            if not isinstance(item, dict) or (wrong := [name for name in item if name not in known]):
                got = f"'{wrong[0]}'{did_you_mean(wrong[0], known)}" if isinstance(item, dict) else repr(item)
                raise UsageError(f"{path}: space.{key} takes {', '.join(known)}; got {got}")
            parameter = Parameter(str(key), **item)
            if missing := [name for name in parameter.when if name not in [p.key for p in parameters]]:
                raise UsageError(f"{path}: space.{key}.when names {missing[0]}, which is not above it in space")
            parameters.append(parameter)
        for key in ("sampler", "pruner"):
            if isinstance(name := content.get(key), str):
                content[key] = {"class_path": name if "." in name else f"optuna.{key}s.{name}"}
            elif name is not None and not (isinstance(name, dict) and isinstance(name.get("class_path"), str)):
                raise UsageError(f"{path}: {key} must be a class_path, with init_args if it needs some; got {name}")
        stated = {key: value for key, value in content.items() if value is not None}
        search = cls(**stated | {"space": parameters})
        if not isinstance(search.num_trials, int) or search.num_trials < 1:
            raise UsageError(f"{path}: num_trials must be at least 1, got {search.num_trials}")
        if len(objectives) > 1 and search.pruner != DEFAULT_PRUNER:
            raise UsageError(f"{path}: a pruner needs one objective; leave it out, or all objectives but one")
        return search

    def corners(self) -> Iterator[dict[str, Any]]:
        """Yield a few combinations with every choice, or of many numbers the smallest and largest, to be checked."""
        candidates = {parameter.key: parameter.choices or [parameter.low, parameter.high] for parameter in self.space}
        conditions = {key for parameter in self.space for key in parameter.when}
        for key, values in candidates.items():
            are_numbers = all(type(value) in (int, float) for value in values)
            if len(values) > MAX_CHECKED_CHOICES and are_numbers and key not in conditions:
                candidates[key] = [min(values), max(values)]
        for number in range(max(2, *map(len, candidates.values()))):
            chosen: dict[str, Any] = {}
            for parameter in self.space:
                if parameter.applies(chosen):
                    values = candidates[parameter.key]
                    chosen[parameter.key] = values[number % len(values)]
            yield chosen


def as_text(value: Any) -> str:
    """Return a value as it is typed."""
    return value if isinstance(value, str) else json.dumps(value)


def short(value: Any) -> str:
    """Return a value as it is shown in tables."""
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
