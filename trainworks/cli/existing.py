"""Requests about a run that exists: to go on with it, or to evaluate it."""

import sys
from pathlib import Path

from trainworks.cli.command_line import CommandLine
from trainworks.cli.config import apply_overrides, merge
from trainworks.cli.request import Request, experiment_of, log_root, merged, resolved, saved_by
from trainworks.errors import UsageError
from trainworks.runs.files import is_checkpoint
from trainworks.runs.find import newest_run, run_of_checkpoint
from trainworks.runs.run import Run
from trainworks.runs.yaml_files import Config, escape, load_file

UNLIMITED = {"max_epochs": None, "max_steps": -1}  # what a training's length is where nobody says


def find_continued(request: Request, files: list[tuple[str, Config]]) -> None:
    """Set the run of a directory, or of one checkpoint in it, and its configuration."""
    path = Path(request.line.options.get("resume", ""))
    request.run = run_of_checkpoint(str(path), "--resume") if is_checkpoint(path) else Run(path)
    if not (request.run.directory / "config.yaml").is_file():
        raise UsageError(f"--resume {path}: no run there; write its directory, or one of its checkpoints")
    if request.line.command == "replay" and "batch" not in request.line.options:
        raise UsageError("replay needs --batch N, the number of a batch counted over all epochs from 0")
    request.ckpt_path = str(path) if is_checkpoint(path) else None
    request.config = _config_of(request.line, request.run, files)


def find_evaluated(request: Request, files: list[tuple[str, Config]]) -> None:
    """Find the checkpoint to evaluate, named or else the best of a run, and the configuration of its run."""
    options, overrides = request.line.options, dict(request.line.overrides)
    if "ckpt_path" in options:
        run = run_of_checkpoint(options["ckpt_path"])
    elif not files:
        raise UsageError("nothing to evaluate; give --config (its newest run is taken) or --ckpt_path")
    elif saved_by(Path(files[0][0])) and "run_name" not in options:
        run = Run(Path(files[0][0]).parent)
        run = run if is_checkpoint(run.best_checkpoint) else run_of_checkpoint(str(run.best_checkpoint))
    else:
        root = overrides.get("trainer.default_root_dir", log_root(merged(files)))
        run = newest_run(root, overrides.get("experiment", experiment_of(*files[0])), options.get("run_name"))
    request.run, request.ckpt_path = run, options.get("ckpt_path", str(run.best_checkpoint))
    request.config = _config_of(request.line, run, files)


def _config_of(line: CommandLine, run: Run, files: list[tuple[str, Config]]) -> Config:
    """Return a run's own configuration with what was typed laid over; its experiment's file is in it already."""
    config = load_file(str(run.directory / "config.yaml"))
    experiment = config.get("experiment")
    for path, content in files:
        config = config if escape(experiment_of(path, content)) == experiment else merge(config, content)
    return resolved(apply_overrides(config, line.overrides) | {"experiment": experiment})


def stop_if_finished(request: Request) -> None:
    """Say that nothing is left to do, and stop, unless a longer training is asked for."""
    if request.run is None or not request.line.trains or not request.run.is_finished:
        return
    stored = load_file(str(request.run.directory / "config.yaml"))
    trainers = [config.get("trainer") or {} for config in (stored, request.config)]
    if all(len({str(trainer.get(name, UNLIMITED[name])) for trainer in trainers}) == 1 for name in UNLIMITED):
        print(f"{request.run.directory} is finished; nothing is left to do")
        sys.exit(0)
