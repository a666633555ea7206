"""One command with all it needs: the configuration and the run it is about. Nothing heavy is imported here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainworks.cli.command_line import TOP_LEVEL, CommandLine
from trainworks.cli.config import apply_overrides, left_to_data, merge, resolve, with_data
from trainworks.cli.defaults import defaults, experiment_of, log_root, merged, saved_by_run
from trainworks.errors import UsageError, did_you_mean
from trainworks.root import example_command
from trainworks.runs.files import is_checkpoint
from trainworks.runs.run import Run
from trainworks.runs.yaml_files import CLASS_KEYS, Config, escape, flatten, load_file, short_key
from trainworks.runtime.launch import is_elastic, is_restart, job_name

MONITOR = "callbacks.best.monitor"
Files = list[tuple[str, Config]]


@dataclass
class Request:
    """One command, ready to be carried out."""

    line: CommandLine  # what was typed
    config: Config  # merged, and its references resolved but for what only the data can tell; see facts.py
    run: Run | None = None  # the one to evaluate or to continue
    ckpt_path: str | None = None  # to evaluate, or to continue from if it was named
    states_monitor: bool = False  # whether somebody chose what the best checkpoint monitors, not the defaults
    callbacks: Sequence[dict[str, Any]] = ()  # class paths and arguments of those beside the configuration's
    raises: bool = False  # whether it comes from Python, where `session`, or `failure` and its `message`, are looked at
    session: Any = None
    failure: BaseException | None = None
    message: str = ""

    @classmethod
    def build(cls, line: CommandLine) -> "Request":
        """Read and merge all files and overrides, and find the run where one is evaluated or continued."""
        if line.command.config_optional and not (line.files or line.overrides):
            return cls(line, {})
        files = [(path, load_file(path)) for path in line.files]
        _check_keys(line, files)
        stated = [flatten(content) for path, content in files if not saved_by_run(Path(path))]
        keys = {short_key(key) for part in (*stated, dict(line.overrides)) for key in part}
        request = cls(line, {}, states_monitor=MONITOR in keys)
        if line.evaluates:
            request._find_evaluated(files)
        elif line.command.directory == "replayed" or line.options.get("resume", "auto") != "auto":
            request._find_continued(files)
        else:
            request._begin(files)
        return request

    @property
    def finished_run(self) -> Run | None:
        """The run to continue, if it is finished and neither a longer training nor another setting is asked for."""
        if self.run is None or not self.line.trains or not self.run.is_finished:
            return None
        from trainworks.runs.continuing.settings import changed_keys, changes_length

        stored = load_file(str(self.run.directory / "config.yaml"))
        return None if changes_length(stored, self.config) or changed_keys(stored, self.line.overrides) else self.run

    def _begin(self, files: Files) -> None:
        """Set the configuration of a new run, or of the one that `--resume auto` finds."""
        if not files:
            raise UsageError(f"no --config given; write {example_command()}")
        config = _overridden(merged(files), self.line)
        config.setdefault("experiment", escape(experiment_of(*files[0])))
        root = log_root(config)
        _check_classes(config)
        self.config = _resolved(config)
        asked = "resume" in self.line.options or is_restart()
        if self.line.trains and (asked or is_elastic()):  # torchrun counts the restarts of each node alone
            from trainworks.runs.find import run_to_continue

            run = run_to_continue(root, config["experiment"], self.line.options.get("run_name"), job_name())
            self.run = run if asked or (run is not None and not run.is_finished) else None

    def _find_continued(self, files: Files) -> None:
        """Set the run of a directory, or of one checkpoint in it, and its configuration."""
        from trainworks.runs.find import run_of_checkpoint

        path = Path(self.line.options.get("resume", ""))
        self.run = run_of_checkpoint(str(path), "--resume") if is_checkpoint(path) else Run(path)
        if not (self.run.directory / "config.yaml").is_file():
            raise UsageError(f"--resume {path}: no run there; write its directory, or one of its checkpoints")
        self.ckpt_path = str(path) if is_checkpoint(path) else None
        self.config = self._config_of_run(self.run, files)

    def _find_evaluated(self, files: Files) -> None:
        """Find the checkpoint to evaluate, named or else the best of a run, and the configuration of its run."""
        from trainworks.runs.find import newest_run, run_of_checkpoint

        options, overrides = self.line.options, dict(self.line.overrides)
        if "ckpt_path" in options:
            run = run_of_checkpoint(options["ckpt_path"])
        elif not files:
            raise UsageError("nothing to evaluate; give --config (its newest run is taken) or --ckpt_path")
        elif saved_by_run(Path(files[0][0])) and "run_name" not in options:
            run = Run(Path(files[0][0]).parent)
            run = run if is_checkpoint(run.best_checkpoint) else run_of_checkpoint(str(run.best_checkpoint))
        else:
            root = overrides.get("trainer.default_root_dir", log_root(merged(files)))
            run = newest_run(root, overrides.get("experiment", experiment_of(*files[0])), options.get("run_name"))
            begun = run.first_config
            if begun is not None and Path(begun).resolve() != Path(files[0][0]).resolve():
                print(f"{run.directory} began with --config {begun}, not with {files[0][0]}")
        self.run, self.ckpt_path = run, options.get("ckpt_path", str(run.best_checkpoint))
        self.config = self._config_of_run(run, files)

    def _config_of_run(self, run: Run, files: Files) -> Config:
        """Return a run's own configuration with what was typed laid over; its experiment's file is in it already."""
        config = load_file(str(run.directory / "config.yaml"))
        experiment = config.get("experiment")
        for path, content in files:
            config = config if escape(experiment_of(path, content)) == experiment else merge(config, content)
        return _resolved(_overridden(config, self.line) | {"experiment": experiment})


def _resolved(config: Config) -> Config:
    """Resolve all references, or, if some lead to what only the data can tell, see that the others lead somewhere."""
    if not (names := left_to_data(config)):
        return resolve(config)
    with_data(config, dict.fromkeys(names))
    return config


def _check_keys(line: CommandLine, files: Files) -> None:
    """Refuse typed keys that no configuration has."""
    for key, _ in line.overrides:
        if key.removesuffix("+").partition(".")[0] not in TOP_LEVEL:
            from trainworks.cli.mistakes import unknown_key

            raise UsageError(unknown_key(key, merged(files), [option.name for option in line.command.options]))


def _overridden(config: Config, line: CommandLine) -> Config:
    """Return a configuration with what was typed set; a null for a callback whose name is misspelt is refused."""
    callbacks = config.get("callbacks") or {}
    for key, text in line.overrides:
        name = key.removeprefix("callbacks.")
        is_callback = name != key and "." not in name and text == "null"
        if is_callback and name not in callbacks and (near := did_you_mean(name, callbacks)):
            raise UsageError(f"--{key} null: there is no callback '{name}'{near}")
    return apply_overrides(config, line.overrides)


def _check_classes(config: Config) -> None:
    """Refuse a module, data and callbacks that are only half described; a callback's name may be misspelt."""
    for name, kind in (("model", "LightningModule"), ("data", "LightningDataModule")):
        node = config.get(name)
        if isinstance(node, dict) and "class_path" not in node:
            raise UsageError(f"{name} has no class_path; write that of a {kind}, and its arguments under init_args")
        if isinstance(node, dict) and (wrong := [key for key in node if key not in CLASS_KEYS]):
            raise UsageError(f"{name}.{wrong[0]}: arguments stand under {name}.init_args")
    callbacks = config.get("callbacks")
    for name, item in callbacks.items() if isinstance(callbacks, dict) else ():
        if isinstance(item, dict) and "class_path" not in item:
            near = did_you_mean(name, defaults()["callbacks"])
            raise UsageError(f"callbacks.{name} has no class_path{near}; write the class_path of a Callback")
