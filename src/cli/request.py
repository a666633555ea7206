"""One command with all it needs: the configuration and the run it is about. Nothing heavy is imported here."""

import re
import sys
from dataclasses import dataclass
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
UNLIMITED = {"max_epochs": None, "max_steps": -1}  # what a training's length is where nobody says
MONITOR = "callbacks.best.monitor"


@dataclass
class Request:
    """One command, ready to be carried out.

    Args:
        line: What was typed.
        config: The merged configuration; `experiment` is always set. References are resolved, unless they lead to what
            only the data can tell; `src/cli/facts.py` then does it.
        run: The run to evaluate or to continue; None for a new one.
        ckpt_path: The checkpoint to evaluate, or to continue from if it was named; else None.
        states_monitor: Whether somebody chose what the best checkpoint monitors, rather than src/defaults.yaml.
    """

    line: CommandLine
    config: Config
    run: Run | None = None
    ckpt_path: str | None = None
    states_monitor: bool = False

    @classmethod
    def build(cls, line: CommandLine) -> "Request":
        """Read and merge all files and overrides, and find the run where one is evaluated or continued.

        Raises:
            UsageError: If a file is broken, a reference leads nowhere, or there is no such run.
        """
        if line.command == "merge" or (line.help and not line.files):
            return cls(line, {})
        files = [(path, load_file(path)) for path in line.files]
        keys = [re.sub(r"\.(class_path|init_args)\b", "", key) for key, _ in line.overrides]
        monitors = [_monitor_of(content) for path, content in files if not _saved_by(Path(path))]
        request = cls(line, {}, states_monitor=MONITOR in keys or any(monitors))
        if line.evaluates:
            request._find_evaluated(files)
        elif line.command == "replay" or line.options.get("resume", "auto") != "auto":
            request._find_continued(files)
        else:
            request._begin(files)
        request._stop_if_finished()
        return request

    def _begin(self, files: list[tuple[str, Config]]) -> None:
        """Set the configuration of a new run, or of the one that `--resume auto` finds."""
        if not files:
            raise UsageError(f"no --config given; write {EXAMPLE}")
        config = apply_overrides(_merged(files), self.line.overrides)
        config.setdefault("experiment", escape(_experiment(*files[0])))
        root = log_root(config)
        _check_callbacks(config)
        self.config = _resolve(config)
        asked = "resume" in self.line.options or is_restart()
        if self.line.trains and (asked or is_elastic()):  # torchrun counts the restarts of each node alone
            from src.runs.find import run_to_continue

            run = run_to_continue(root, config["experiment"], self.line.options.get("run_name"), job_name())
            self.run = run if asked or (run is not None and not run.is_finished) else None

    def _find_continued(self, files: list[tuple[str, Config]]) -> None:
        """Set the run of a directory, or of one checkpoint in it, and its configuration."""
        from src.runs.find import run_of_checkpoint

        path = Path(self.line.options.get("resume", ""))
        self.run = run_of_checkpoint(str(path), "--resume") if is_checkpoint(path) else Run(path)
        if not (self.run.directory / "config.yaml").is_file():
            raise UsageError(f"--resume {path}: no run there; write its directory, or one of its checkpoints")
        if self.line.command == "replay" and "batch" not in self.line.options:
            raise UsageError("replay needs --batch N, the number of a batch counted over all epochs from 0")
        self.ckpt_path = str(path) if is_checkpoint(path) else None
        self.config = self._config_of(self.run, files)

    def _find_evaluated(self, files: list[tuple[str, Config]]) -> None:
        """Find the checkpoint to evaluate, named or else the best of a run, and the configuration of its run."""
        from src.runs.find import newest_run, run_of_checkpoint

        options, overrides = self.line.options, dict(self.line.overrides)
        if "ckpt_path" in options:
            run = run_of_checkpoint(options["ckpt_path"])
        elif not files:
            raise UsageError("nothing to evaluate; give --config (its newest run is taken) or --ckpt_path")
        elif _saved_by(Path(files[0][0])) and "run_name" not in options:
            run = Run(Path(files[0][0]).parent)
            run = run if is_checkpoint(run.best_checkpoint) else run_of_checkpoint(str(run.best_checkpoint))
        else:
            root = overrides.get("trainer.default_root_dir", log_root(_merged(files)))
            run = newest_run(root, overrides.get("experiment", _experiment(*files[0])), options.get("run_name"))
        self.run, self.ckpt_path = run, options.get("ckpt_path", str(run.best_checkpoint))
        self.config = self._config_of(run, files)

    def _config_of(self, run: Run, files: list[tuple[str, Config]]) -> Config:
        """Return a run's own configuration with what was typed laid over; its experiment's file is in it already."""
        config = load_file(str(run.directory / "config.yaml"))
        experiment = config.get("experiment")
        for path, content in files:
            config = config if escape(_experiment(path, content)) == experiment else merge(config, content)
        return _resolve(apply_overrides(config, self.line.overrides) | {"experiment": experiment})

    def _stop_if_finished(self) -> None:
        """Say that nothing is left to do, and stop, unless a longer training is asked for."""
        if self.run is None or not self.line.trains or not self.run.is_finished:
            return
        stored = load_file(str(self.run.directory / "config.yaml"))
        trainers = [config.get("trainer") or {} for config in (stored, self.config)]
        if all(len({str(trainer.get(name, UNLIMITED[name])) for trainer in trainers}) == 1 for name in UNLIMITED):
            print(f"{self.run.directory} is finished; nothing is left to do")
            sys.exit(0)


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


def _merged(files: list[tuple[str, Config]]) -> Config:
    """Return the defaults with all files laid over them."""
    config = load_file(str(DEFAULTS))
    for _, content in files:
        config = merge(config, content)
    return config


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
