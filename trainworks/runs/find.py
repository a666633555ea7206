"""Which run a command is about, where it is no new one."""

import os
import re
from pathlib import Path

from trainworks.errors import UsageError, did_you_mean
from trainworks.runs.files import is_checkpoint
from trainworks.runs.run import Run


def run_to_continue(root: str, experiment: str, name: str | None, job: str | None) -> Run | None:
    """Return the run called `name`, or else that of the job, or the newest unless it is finished; None for none."""
    names = re.escape(name) if name else rf"{re.escape(job)}(-\d+)?" if job else ".*"
    runs = _newest_first(Path(root) / experiment, names)
    return runs[0] if runs and (name or job or not runs[0].is_finished) else None


def run_of_checkpoint(checkpoint: str, option: str = "--ckpt_path") -> Run:
    """Return the run that a checkpoint belongs to."""
    path = Path(checkpoint)
    if (path / "config.yaml").is_file():
        raise UsageError(f"{option} {checkpoint}: a run, and no checkpoint; write {path / 'checkpoints' / 'best.ckpt'}")
    if not path.exists():
        near = did_you_mean(path.stem, [file.stem for file in path.parent.glob("*.ckpt")])
        raise UsageError(f"{option} {checkpoint}: no such file{near}")
    for folder in path.absolute().parents[:2]:
        if (folder / "config.yaml").is_file():
            return Run(Path(os.path.relpath(folder)) if folder.is_relative_to(Path.cwd()) else folder)
    what = f"no config.yaml beside it (looked in {path.parent} and the folder above)"
    raise UsageError(f"{option} {checkpoint}: {what}; copy the config.yaml of its run there")


def newest_run(root: str, experiment: str, name: str | None) -> Run:
    """Return the newest run of an experiment that holds a best checkpoint, or the one called `name`."""
    parent = Path(root) / experiment
    runs = _newest_first(parent, re.escape(name) if name else ".*")
    for run in runs:
        if is_checkpoint(run.best_checkpoint):
            return run
        print(f"passed over {run.directory}: it has no {run.best_checkpoint.relative_to(run.directory)}")
    which = f"no run '{name}'" if name and not runs else "no run with a best checkpoint"
    raise UsageError(f"{which} in {parent}; train one first (python train.py --config ...) or give --ckpt_path")


def _newest_first(experiment: Path, names: str) -> list[Run]:
    """Return the runs in the folder of an experiment whose whole names match a regular expression."""
    runs = [Run(file.parent) for file in experiment.glob("*/config.yaml") if re.fullmatch(names, file.parent.name)]
    return sorted(runs, key=lambda run: run.started, reverse=True)
