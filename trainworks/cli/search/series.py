"""Trainings one after the other, for `repeat` and `sweep`: in this process where that is safe."""

import contextlib
import gc
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from trainworks.cli.carry_out import carry_out
from trainworks.cli.command_line import CommandLine
from trainworks.cli.config import typed_value
from trainworks.cli.search.space import as_text
from trainworks.errors import UsageError
from trainworks.root import ROOT
from trainworks.runs.continuing.settings import changed_keys
from trainworks.runs.files import TRUSTED
from trainworks.runs.run import TRIAL_VARIABLE, Run, check_name
from trainworks.runs.yaml_files import Config, load_file

COLLECTED_AFTER = 30.0  # seconds without a look for garbage, which takes 0.3: a small training lasts not much longer
_collected = time.monotonic()


def typed(options: Iterable[tuple[str, Any]]) -> list[str]:
    """Return options as the words that one would type."""
    return [word for key, value in options for word in (f"--{key}", as_text(value))]


def words_of(line: CommandLine) -> list[str]:
    """Return the words that go on to every training: files and changes of the configuration."""
    return typed([*(("config", path) for path in line.files), *line.overrides])


def series_name(line: CommandLine, default: str) -> str:
    """Return the name of a series, with which the names of its runs begin."""
    name = line.options.get("run_name") or default
    check_name(name)
    return name


def first_seed(config: Config) -> int:
    """Return the seed of a configuration, from which a series counts; 0 where there is none."""
    seed = typed_value("seed_everything", str(config.get("seed_everything") or 0))
    if not isinstance(seed, int):
        raise UsageError(f"seed_everything must be a whole number, got {seed}")
    return int(seed)


def is_trained(run: Run, words: list[str]) -> bool:
    """Whether a run has finished; a UsageError where that was with other settings than those that are typed now."""
    if run.is_finished:
        stored, overrides = load_file(str(run.directory / "config.yaml")), CommandLine.parse(["fit", *words]).overrides
        if changed := changed_keys(stored, overrides):
            raise UsageError(f"{run.directory} was trained with another {', '.join(changed)}; write a new --run_name")
    return run.is_finished


def train_once(
    words: list[str], config: Config, quiet: bool = False, callbacks: Sequence[dict[str, Any]] = ()
) -> tuple[int, str]:
    """Train as `python train.py WORDS` does; return the exit code and, if nothing is shown, what went to stderr.

    A training on one device, which `config` tells, runs in this process: that saves the seconds of all imports. Others
    start processes that have to belong to one parent: each gets a process of its own. It gets `callbacks` besides.
    """
    words = [*words, *typed([("trust", "true")] if TRUSTED.get() else [])]
    if not _needs_one_process(config):
        command = [sys.executable, str(ROOT / "train.py"), *words]
        out, err = (subprocess.DEVNULL, subprocess.PIPE) if quiet else (None, None)
        environment = {**os.environ, TRIAL_VARIABLE: json.dumps(callbacks)}
        done = subprocess.run(command, check=False, stdout=out, stderr=err, text=True, env=environment)
        return done.returncode, done.stderr or ""
    errors = io.StringIO()
    try:
        with contextlib.ExitStack() as stack:
            if quiet:
                stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
                stack.enter_context(contextlib.redirect_stderr(errors))
            return carry_out(words, time.time(), callbacks), errors.getvalue()
    finally:
        _free_memory()


def _free_memory() -> None:
    """Free what trainings leave behind, seldom after small ones; on a GPU at once, whose memory the next one needs."""
    global _collected
    import torch  # which the training has imported

    on_gpu = torch.cuda.is_available()
    if on_gpu or time.monotonic() - _collected > COLLECTED_AFTER:
        gc.collect()
        _collected = time.monotonic()
    if on_gpu:
        torch.cuda.empty_cache()


def _needs_one_process(config: Config) -> bool:
    """Whether a training takes one device of one machine."""
    trainer = config.get("trainer") or {}
    devices, nodes = str(trainer.get("devices", "auto")), str(trainer.get("num_nodes", 1))
    if "WORLD_SIZE" in os.environ or nodes != "1" or devices not in ("1", "auto"):
        return False
    if devices == "1" or str(trainer.get("accelerator", "auto")) == "cpu":
        return True  # on a CPU it is one process unless a number is given
    import torch

    return torch.cuda.device_count() <= 1
