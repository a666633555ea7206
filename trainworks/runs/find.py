"""Which run a command is about, where it is no new one."""

import os
import re
from pathlib import Path

from trainworks.errors import UsageError, did_you_mean
from trainworks.runs.files import is_checkpoint
from trainworks.runs.run import Run


def run_to_continue(root: str, experiment: str, name: str | None, job: str | None) -> Run | None:
    """Return the run called `name`, or else that of the job, or the newest unless it is finished; None for none."""
    parent = Path(root) / experiment
    runs = [Run(file.parent) for file in parent.glob("*/config.yaml")]
    if name:
        return next((run for run in runs if run.directory.name == name), None)
    if job:
        same = re.compile(rf"{re.escape(job)}(-\d+)?")
        runs = [run for run in runs if same.fullmatch(run.directory.name)]
        return max(runs, key=lambda run: run.started, default=None)
    newest = max(runs, key=lambda run: run.started, default=None)
    return newest if newest is not None and not newest.is_finished else None


def run_of_checkpoint(checkpoint: str, option: str = "--ckpt_path") -> Run:
    """Return the run that a checkpoint belongs to."""
    path = Path(checkpoint)
    if not path.exists():
        near = did_you_mean(path.stem, [file.stem for file in path.parent.glob("*.ckpt")])
        raise UsageError(f"{option} {checkpoint}: no such file{near}")
    for folder in path.absolute().parents[:2]:
        if (folder / "config.yaml").is_file():
            return Run(Path(os.path.relpath(folder)) if folder.is_relative_to(Path.cwd()) else folder)
    raise UsageError(
        f"{option} {checkpoint}: no config.yaml beside it (looked in {path.parent} and the folder above); "
        "copy the config.yaml of its run there"
    )


def newest_run(root: str, experiment: str, name: str | None) -> Run:
    """Return the newest run of an experiment that holds a best checkpoint, or the one called `name`."""
    parent = Path(root) / experiment
    runs = [Run(file.parent) for file in parent.glob("*/config.yaml")]
    if name:
        runs = [run for run in runs if run.directory.name == name]
    for run in sorted(runs, key=lambda run: run.started, reverse=True):
        if is_checkpoint(run.best_checkpoint):
            return run
        print(f"passed over {run.directory}: it has no {run.best_checkpoint.relative_to(run.directory)}")
    which = f"no run '{name}'" if name and not runs else "no run with a best checkpoint"
    raise UsageError(f"{which} in {parent}; train one first (python train.py --config ...) or give --ckpt_path")
