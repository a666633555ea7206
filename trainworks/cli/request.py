"""One command with all it needs: the configuration and the run it is about. Nothing heavy is imported here."""

import os
from dataclasses import dataclass
from pathlib import Path

from trainworks.cli.command_line import WORDS, CommandLine
from trainworks.cli.config import apply_overrides, left_to_data, merge, resolve, state
from trainworks.errors import UsageError, did_you_mean
from trainworks.root import LIBRARY, ROOT, example_command
from trainworks.runs.run import Run
from trainworks.runs.yaml_files import Config, escape, flatten, load_file, short_key
from trainworks.runtime.launch import is_elastic, is_restart, job_name

DEFAULTS_VARIABLE = "TRAIN_DEFAULTS"  # names another file than configs/defaults.yaml, as for a cluster
SECTIONS = ("callbacks", "trainer")  # where nothing is written under one, nothing changes
MONITOR = "callbacks.best.monitor"
UNUSED = ("optimizer", "lr_scheduler", "ckpt_path", "weights_only")  # null in the files that LightningCLI writes


@dataclass
class Request:
    """One command, ready to be carried out."""

    line: CommandLine  # what was typed
    config: Config  # merged, and its references resolved but for what only the data can tell; see facts.py
    run: Run | None = None  # the one to evaluate or to continue
    ckpt_path: str | None = None  # to evaluate, or to continue from if it was named
    states_monitor: bool = False  # whether somebody chose what the best checkpoint monitors, not the defaults

    @classmethod
    def build(cls, line: CommandLine) -> "Request":
        """Read and merge all files and overrides, and find the run where one is evaluated or continued."""
        alone = line.help or (line.command == "check" and not line.overrides)  # what does without a configuration
        if line.command in ("merge", "export", "schema", *WORDS) or (alone and not line.files):
            return cls(line, {})
        files = [(path, load_file(path)) for path in line.files]
        stated = [flatten(content) for path, content in files if not saved_by(Path(path))]
        keys = {short_key(key) for part in (*stated, dict(line.overrides)) for key in part}
        request = cls(line, {}, states_monitor=MONITOR in keys)
        named = line.command == "replay" or line.options.get("resume", "auto") != "auto"
        if not line.evaluates and not named:
            request._begin(files)
        if line.evaluates or named or request.run is not None:
            from trainworks.cli.existing import find_continued, find_evaluated, stop_if_finished

            if line.evaluates:
                find_evaluated(request, files)
            elif named:
                find_continued(request, files)
            stop_if_finished(request)
        return request

    def _begin(self, files: list[tuple[str, Config]]) -> None:
        """Set the configuration of a new run, or of the one that `--resume auto` finds."""
        if not files:
            raise UsageError(f"no --config given; write {example_command()}")
        config = apply_overrides(merged(files), self.line.overrides)
        config.setdefault("experiment", escape(experiment_of(*files[0])))
        root = log_root(config)
        _check_classes(config)
        self.config = resolved(config)
        asked = "resume" in self.line.options or is_restart()
        if self.line.trains and (asked or is_elastic()):  # torchrun counts the restarts of each node alone
            from trainworks.runs.find import run_to_continue

            run = run_to_continue(root, config["experiment"], self.line.options.get("run_name"), job_name())
            self.run = run if asked or (run is not None and not run.is_finished) else None


def log_root(config: Config) -> str:
    """Return the folder that holds all experiments."""
    trainer = config.get("trainer")
    root = trainer.get("default_root_dir") if isinstance(trainer, dict) else None
    if root is None and isinstance(trainer, dict):  # as LightningCLI writes it
        root = defaults()["trainer"]["default_root_dir"]
    if not isinstance(root, str):
        got = f"got {root!r} from trainer: {trainer!r:.60}"
        raise UsageError(f"trainer.default_root_dir must be a folder's name, {got}")
    return root


def own_defaults() -> tuple[Path, Config]:
    """Return the file of the project's own defaults and its content, empty where there is none and nobody named it."""
    named, path = os.environ.get(DEFAULTS_VARIABLE), ROOT / "configs" / "defaults.yaml"
    if named is not None:
        return Path(named), load_file(named, DEFAULTS_VARIABLE, may_be_empty=True)
    return path, load_file(str(path), "the defaults", may_be_empty=True) if path.exists() else {}


def defaults() -> Config:
    """Return the library's defaults with the project's own laid over them."""
    return _laid_over(load_file(str(LIBRARY / "defaults.yaml")), own_defaults()[1])


def _laid_over(config: Config, content: Config) -> Config:
    stated = {key: value for key, value in content.items() if value is not None or key not in SECTIONS}
    return merge(config, stated)


def merged(files: list[tuple[str, Config]]) -> Config:
    """Return the defaults with all files laid over them; the whole configuration of a run needs no defaults."""
    config = {} if files and saved_by(Path(files[0][0])) else defaults()
    for _, content in files:
        config = _laid_over(config, content)
    return {key: value for key, value in config.items() if value is not None or key not in UNUSED}


def resolved(config: Config) -> Config:
    """Resolve all references, or, if some lead to what only the data can tell, see that the others lead somewhere."""
    if not (names := left_to_data(config)):
        return resolve(config)
    state(config, dict.fromkeys(names))
    return config


def _check_classes(config: Config) -> None:
    """Refuse a module, data and callbacks that are only half described; a callback's name may be misspelt."""
    for name, kind in (("model", "LightningModule"), ("data", "LightningDataModule")):
        if isinstance(config.get(name), dict) and "class_path" not in config[name]:
            raise UsageError(f"{name} has no class_path; write that of a {kind}, and its arguments under init_args")
    callbacks = config.get("callbacks")
    for name, item in callbacks.items() if isinstance(callbacks, dict) else ():
        if isinstance(item, dict) and "class_path" not in item:
            near = did_you_mean(name, defaults()["callbacks"])
            raise UsageError(f"callbacks.{name} has no class_path{near}; write the class_path of a Callback")


def saved_by(path: Path) -> bool:
    """Whether a file is the whole configuration that a run saved."""
    return path.name == "config.yaml" and (path.parent / "run.json").is_file()


def experiment_of(path: str, content: Config) -> str:
    """Return the name of a configuration file's experiment."""
    return str(content.get("experiment", Path(path).stem))
