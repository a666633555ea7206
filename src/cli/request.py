"""One command with all it needs: the configuration and the run it works on. Nothing heavy is imported here."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.cli.command_line import EXAMPLE, CommandLine
from src.cli.config import apply_overrides, left_to_data, merge, resolve, state
from src.errors import UsageError, did_you_mean
from src.runs.files import is_checkpoint
from src.runs.run import Run
from src.runs.yaml_files import Config, escape, load_file
from src.runtime.launch import is_elastic, is_restart, job_name

DEFAULTS = Path(__file__).parents[1] / "defaults.yaml"
TRAINING, EVALUATING = (None, "fit"), ("validate", "test", "predict")
UNLIMITED = {"max_epochs": None, "max_steps": -1}  # what a training's length is where nobody says
MONITOR = "callbacks.best.monitor"
NUMBERS = {"num_folds": 2, "num_seeds": 2, "batch": 0}  # with their least values
OWN_KEYS: dict[str, tuple[str | None, ...]] = {  # options that are no part of the configuration, and who takes them
    "run_name": (*TRAINING, *EVALUATING, "repeat"),
    "ckpt_path": (*EVALUATING, "merge"),
    "resume": (*TRAINING, "replay"),
    "num_folds": ("repeat",),
    "num_seeds": ("repeat",),
    "batch": ("replay",),
}


@dataclass
class Request:
    """One command, ready to be carried out.

    Args:
        command: One of `COMMANDS`, or None for fit and then test.
        config: The merged configuration; `experiment` is always set. References are resolved, unless they lead to what
            only the data can tell; `src/cli/facts.py` then does it.
        run: The run to evaluate or to continue; None for a new one.
        run_name: The name of a new run; None for the time.
        ckpt_path: The checkpoint to evaluate or merge, or to continue from if it was named; else None.
        states_monitor: Whether somebody chose what the best checkpoint monitors, rather than src/defaults.yaml.
        numbers: The options that are numbers, by name.
    """

    command: str | None
    config: Config
    run: Run | None = None
    run_name: str | None = None
    ckpt_path: str | None = None
    states_monitor: bool = False
    numbers: dict[str, int] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        """Whether the command trains and keeps what it trained, from the start or on."""
        return self.command in TRAINING

    @classmethod
    def build(cls, line: CommandLine) -> "Request":
        """Read and merge all files and overrides, and find the run where one is evaluated or continued.

        Raises:
            UsageError: If a file is broken, a reference leads nowhere, there is no such run, or an option does not
                belong to the command.
        """
        typed = _Typed(line)
        if line.help and not typed.files:
            return cls(None, {})
        for key in typed.own:
            if line.command not in OWN_KEYS[key]:
                takers = ", ".join(str(command) for command in OWN_KEYS[key] if command)
                raise UsageError(f"{line.command or 'fit'} takes no --{key}; it belongs to {takers}")
        if line.command == "merge":
            if "ckpt_path" not in typed.own:
                raise UsageError("merge needs --ckpt_path FOLDER, a checkpoint in parts")
            return cls(line.command, {}, ckpt_path=typed.own["ckpt_path"])
        if line.command in EVALUATING:
            return _evaluate(typed)
        if line.command == "replay" or typed.own.get("resume", "auto") != "auto":
            return _continue(typed)
        return _begin(typed)


class _Typed:
    """A command line, with its files read."""

    def __init__(self, line: CommandLine) -> None:
        self.command = line.command
        self.own = {key: value for key, value in line.overrides if key in OWN_KEYS}
        self.overrides = [(key, value) for key, value in line.overrides if key not in OWN_KEYS]
        self.files = [(path, load_file(path)) for path in line.files]
        self.numbers = {key: _number(key, text) for key, text in self.own.items() if key in NUMBERS}
        keys = [re.sub(r"\.(class_path|init_args)\b", "", key) for key, _ in self.overrides]
        files = [content for path, content in self.files if not _saved_by(Path(path))]
        self.states_monitor = MONITOR in keys or any(map(_monitor_of, files))

    def merged(self) -> Config:
        """Return the defaults with all files laid over them."""
        config = load_file(str(DEFAULTS))
        for _, content in self.files:
            config = merge(config, content)
        return config

    def config_of(self, run: Run) -> Config:
        """Return a run's own configuration with what was typed laid over; its experiment's file is in it already."""
        config = load_file(str(run.directory / "config.yaml"))
        experiment = config.get("experiment")
        for path, content in self.files:
            config = config if escape(_experiment(path, content)) == experiment else merge(config, content)
        return _resolve(apply_overrides(config, self.overrides) | {"experiment": experiment})


def _begin(typed: _Typed) -> Request:
    """Make a request for a new run, or for the one that `--resume auto` finds."""
    if not typed.files:
        raise UsageError(f"no --config given; write {EXAMPLE}")
    config = apply_overrides(typed.merged(), typed.overrides)
    config.setdefault("experiment", escape(_experiment(*typed.files[0])))
    root = log_root(config)
    _check_callbacks(config)
    name = typed.own.get("run_name")
    request = Request(typed.command, _resolve(config), None, name, None, typed.states_monitor, typed.numbers)
    asked = "resume" in typed.own or is_restart()
    if request.trains and (asked or is_elastic()):  # torchrun counts the restarts of each node alone
        run = Run.to_continue(root, config["experiment"], request.run_name, job_name())
        request.run = run if asked or (run is not None and not run.is_finished) else None
        _stop_if_finished(request)
    return request


def _continue(typed: _Typed) -> Request:
    """Make a request for the run of a directory, or of one checkpoint in it."""
    path = Path(typed.own.get("resume", ""))
    run = Run.of_checkpoint(str(path), "--resume") if is_checkpoint(path) else Run(path)
    if not (run.directory / "config.yaml").is_file():
        raise UsageError(f"--resume {path}: no run there; write its directory, or one of its checkpoints")
    if typed.command == "replay" and "batch" not in typed.numbers:
        raise UsageError("replay needs --batch N, the number of a batch counted over all epochs from 0")
    named = str(path) if is_checkpoint(path) else None
    config = typed.config_of(run)
    request = Request(typed.command, config, run, None, named, typed.states_monitor, typed.numbers)
    _stop_if_finished(request)
    return request


def _evaluate(typed: _Typed) -> Request:
    """Make a request for a checkpoint: the one named, that of the config.yaml given, or the newest run's best."""
    if "ckpt_path" in typed.own:
        run = Run.of_checkpoint(typed.own["ckpt_path"])
    elif not typed.files:
        raise UsageError("nothing to evaluate; give --config (its newest run is taken) or --ckpt_path")
    else:
        path, content = typed.files[0]
        folder = Path(path).parent
        if _saved_by(Path(path)) and "run_name" not in typed.own:
            run = Run(folder)
            run = run if is_checkpoint(run.best_checkpoint) else Run.of_checkpoint(str(run.best_checkpoint))
        else:
            overrides = dict(typed.overrides)
            root = overrides.get("trainer.default_root_dir", log_root(typed.merged()))
            experiment = overrides.get("experiment", _experiment(path, content))
            run = Run.newest(root, experiment, typed.own.get("run_name"))
    ckpt_path = typed.own.get("ckpt_path", str(run.best_checkpoint))
    return Request(typed.command, typed.config_of(run), run, ckpt_path=ckpt_path)


def log_root(config: Config) -> str:
    """Return the folder that holds all experiments.

    Raises:
        UsageError: If the configuration has no such entry.
    """
    trainer = config.get("trainer")
    root = trainer.get("default_root_dir") if isinstance(trainer, dict) else None
    if not isinstance(root, str):
        raise UsageError(
            f"trainer.default_root_dir must be a folder's name, got {root!r} from trainer: {trainer!r:.60}"
        )
    return root


def _stop_if_finished(request: Request) -> None:
    """Say that nothing is left to do, and stop, unless a longer training is asked for."""
    if request.run is None or not request.trains or not request.run.is_finished:
        return
    stored = load_file(str(request.run.directory / "config.yaml"))
    trainers = [config.get("trainer") or {} for config in (stored, request.config)]
    if all(len({str(trainer.get(name, UNLIMITED[name])) for trainer in trainers}) == 1 for name in UNLIMITED):
        print(f"{request.run.directory} is finished; nothing is left to do")
        sys.exit(0)


def _number(key: str, text: str) -> int:
    if not text.isdigit() or int(text) < NUMBERS[key]:
        raise UsageError(f"--{key} must be a number of at least {NUMBERS[key]}, got {text}")
    return int(text)


def _resolve(config: Config) -> Config:
    """Resolve all references, or, if some lead to what only the data can tell, see that the others lead somewhere."""
    if not (names := left_to_data(config)):
        return resolve(config)
    state(config, dict.fromkeys(names))
    return config


def _check_callbacks(config: Config) -> None:
    """Find callbacks that are only half described, most likely a misspelt name.

    Raises:
        UsageError: If one has no class_path.
    """
    callbacks = config.get("callbacks")
    for name, item in callbacks.items() if isinstance(callbacks, dict) else ():
        if isinstance(item, dict) and "class_path" not in item:
            near = did_you_mean(name, load_file(str(DEFAULTS))["callbacks"])
            raise UsageError(f"callbacks.{name} has no class_path{near}; write the class_path of a Callback")


def _monitor_of(config: Config) -> Any:
    """Return what the best checkpoint monitors, None if a configuration does not say."""
    best: Any = config.get("callbacks")
    for name in ("best", "init_args", "monitor"):
        best = best.get(name) if isinstance(best, dict) else None
    return best


def _saved_by(path: Path) -> bool:
    """Whether a file is the whole configuration that a run saved."""
    return path.name == "config.yaml" and (path.parent / "run.json").is_file()


def _experiment(path: str, content: Config) -> str:
    return str(content.get("experiment", Path(path).stem))
