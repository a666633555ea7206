"""What was typed: which command, which run, and the configuration it works on."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from src.config import Config, UsageError, apply_overrides, did_you_mean, left_to_data, load_file, merge, resolve, state
from src.run import Run, is_restart

COMMANDS = ("fit", "validate", "test", "predict", "check", "repeat")
EXAMPLE = "python train.py --config configs/digits.yaml"
DEFAULTS = Path(__file__).with_name("defaults.yaml")
COUNTS = ("num_folds", "num_seeds")  # of repeat
OWN_KEYS = ("run_name", "ckpt_path", "resume", *COUNTS)  # they choose the run and are not part of its configuration


@dataclass
class CommandLine:
    """The words after `train.py`, sorted.

    Args:
        command: One of `COMMANDS`, or None for fit and then test.
        files: Every `--config`, in order.
        overrides: Every other `--key value`, in order.
        help: What help was asked for, as arguments of the parser; empty if none.
        print_config: Whether to print the resulting configuration and stop.
    """

    command: str | None = None
    files: list[str] = field(default_factory=list)
    overrides: list[tuple[str, str]] = field(default_factory=list)
    help: list[str] = field(default_factory=list)
    print_config: bool = False

    @classmethod
    def parse(cls, words: list[str]) -> "CommandLine":
        """Sort the words.

        Raises:
            UsageError: If one is unknown or lacks its value.
        """
        if not words:
            raise UsageError(f"nothing to do; write {EXAMPLE} (or --help)")
        line, words = cls(), list(words)
        if not words[0].startswith("-"):
            line.command = words.pop(0)
            if line.command not in COMMANDS:
                near = did_you_mean(line.command, COMMANDS)
                raise UsageError(f"unknown command '{line.command}'{near}; write one of {', '.join(COMMANDS)}")
        while words:
            line._take(words)
        return line

    def _take(self, words: list[str]) -> None:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if word in ("-h", "--help") or re.fullmatch(r"--[\w.]+\.help", name):
            self.help = ["--help"] if word == "-h" else [word]
            if "." in word and not equals and words and not words[0].startswith("-"):
                self.help.append(words.pop(0))
        elif word == "--print_config":
            self.print_config = True
        elif not re.fullmatch(r"-c|--[A-Za-z_][\w.]*\+?", name):
            raise UsageError(f"unexpected '{word}'; options are written --key value, for example {EXAMPLE}")
        elif not equals and (not words or words[0].startswith("--")):
            raise UsageError(f"{name} needs a value; write {name} VALUE")
        else:
            value = value if equals else words.pop(0)
            if name in ("-c", "--config"):
                self.files.append(value)
            else:
                self.overrides.append((name.removeprefix("--"), value))


@dataclass
class Request:
    """One command with all it needs to start.

    Args:
        command: One of `COMMANDS`, or None for fit and then test.
        config: The merged configuration; `experiment` is always set. References are resolved, unless they lead to what
            only the data can tell; `src/facts.py` then does it.
        run: The run to evaluate or to continue; None for a new one.
        run_name: The name of a new run; None for the time.
        ckpt_path: The checkpoint to evaluate, or to continue from if it was named; else None.
        counts: Of repeat: how many folds and seeds, by option.
    """

    command: str | None
    config: Config
    run: Run | None = None
    run_name: str | None = None
    ckpt_path: str | None = None
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        """Whether the command trains, from the start or on."""
        return self.command in (None, "fit")

    @classmethod
    def build(cls, line: CommandLine) -> "Request":
        """Read and merge all files and overrides, and find the run where one is evaluated.

        Raises:
            UsageError: If a file is broken, a reference leads nowhere, or there is no such run.
        """
        own = {key: value for key, value in line.overrides if key in OWN_KEYS}
        overrides = [(key, value) for key, value in line.overrides if key not in OWN_KEYS]
        files = [(path, load_file(path)) for path in line.files]
        defaults = load_file(str(DEFAULTS))
        if line.help and not files:
            return cls(None, {})
        if line.command != "repeat" and (given := own.keys() & set(COUNTS)):
            raise UsageError(f"--{min(given)} is an option of the command repeat")
        if "resume" in own and line.command not in (None, "fit"):
            raise UsageError(f"{line.command} takes no --resume; only training does")
        if line.command in (None, "fit", "check", "repeat"):
            if "ckpt_path" in own:
                raise UsageError(f"{line.command or 'fit'} takes no --ckpt_path; validate, test and predict do")
            if own.get("resume", "auto") != "auto":
                return _resume(cls, line, files, overrides, own["resume"])
            if not files:
                raise UsageError(f"no --config given; write {EXAMPLE}")
            config = apply_overrides(_merge_all(defaults, [content for _, content in files]), overrides)
            config.setdefault("experiment", _experiment(*files[0]))
            log_root(config)
            _check_callbacks(config, defaults)
            counts = {key: _count(key, own[key]) for key in COUNTS if key in own}
            request = cls(line.command, _resolve(config), run_name=own.get("run_name"), counts=counts)
            if line.command in (None, "fit") and ("resume" in own or is_restart()):
                request.run = Run.to_continue(log_root(config), config["experiment"], request.run_name)
                _stop_if_finished(request)
            return request
        run = _find_run(files, dict(overrides), own, defaults)
        config = _config_of(run, files, overrides)
        ckpt_path = own.get("ckpt_path", str(run.best_checkpoint))
        return cls(line.command, _resolve(config), run=run, ckpt_path=ckpt_path)


def _config_of(run: Run, files: list[tuple[str, Config]], overrides: list[tuple[str, str]]) -> Config:
    """Return a run's own configuration with what was typed laid over it; its experiment's file is in it already."""
    base = load_file(str(run.directory / "config.yaml"))
    later = [content for path, content in files if _experiment(path, content) != base.get("experiment")]
    return apply_overrides(_merge_all(base, later), overrides) | {"experiment": base.get("experiment")}


def _resume(
    cls: type[Request], line: CommandLine, files: list[tuple[str, Config]], overrides: list[tuple[str, str]], path: str
) -> Request:
    """Continue the run of a directory, or of one checkpoint in it."""
    run = Run.of_checkpoint(path, "--resume") if Path(path).is_file() else Run(Path(path))
    if not (run.directory / "config.yaml").is_file():
        raise UsageError(f"--resume {path}: no run there; write auto, a run's directory or one of its checkpoints")
    config = _resolve(_config_of(run, files, overrides))
    request = cls(line.command, config, run=run, ckpt_path=path if Path(path).is_file() else None)
    _stop_if_finished(request)
    return request


def _stop_if_finished(request: Request) -> None:
    """Say that nothing is left to do, and stop, unless more epochs are asked for."""
    if request.run is None or not request.run.is_finished:
        return
    stored = load_file(str(request.run.directory / "config.yaml"))
    epochs = [str((config.get("trainer") or {}).get("max_epochs")) for config in (stored, request.config)]
    if epochs[0] == epochs[1]:
        print(f"{request.run.directory} is finished; nothing is left to do")
        sys.exit(0)


def _count(key: str, text: str) -> int:
    if not text.isdigit() or int(text) < 2:
        raise UsageError(f"--{key} must be a number of at least 2, got {text}")
    return int(text)


def _resolve(config: Config) -> Config:
    """Resolve all references, or, if some lead to what only the data can tell, see that the others lead somewhere."""
    if not (names := left_to_data(config)):
        return resolve(config)
    state(config, dict.fromkeys(names))
    return config


def _check_callbacks(config: Config, defaults: Config) -> None:
    """Find callbacks that are only half described, most likely a misspelt name.

    Raises:
        UsageError: If one has no class_path.
    """
    callbacks = config.get("callbacks")
    for name, item in callbacks.items() if isinstance(callbacks, dict) else ():
        if isinstance(item, dict) and "class_path" not in item:
            near = did_you_mean(name, defaults["callbacks"])
            raise UsageError(f"callbacks.{name} has no class_path{near}; write the class_path of a Callback")


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


def _merge_all(base: Config, contents: list[Config]) -> Config:
    for content in contents:
        base = merge(base, content)
    return base


def _experiment(path: str, content: Config) -> str:
    return str(content.get("experiment", Path(path).stem))


def _find_run(files: list[tuple[str, Config]], overrides: dict[str, str], own: dict[str, str], defaults: Config) -> Run:
    """Return the run to evaluate: the checkpoint's, the one whose config.yaml was given, or the experiment's newest."""
    if "ckpt_path" in own:
        return Run.of_checkpoint(own["ckpt_path"])
    if not files:
        raise UsageError("nothing to evaluate; give --config (its newest run is taken) or --ckpt_path")
    path, content = files[0]
    if Path(path).name == "config.yaml" and (Path(path).parent / "run.json").is_file() and "run_name" not in own:
        run = Run(Path(path).parent)
        return run if run.best_checkpoint.is_file() else Run.of_checkpoint(str(run.best_checkpoint))
    config = _merge_all(defaults, [content for _, content in files])
    experiment = overrides.get("experiment", _experiment(path, content))
    return Run.newest(overrides.get("trainer.default_root_dir", log_root(config)), experiment, own.get("run_name"))
