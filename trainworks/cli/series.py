"""Trainings one after the other, for `repeat` and `sweep`: in this process where that is safe."""

import contextlib
import gc
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from trainworks.cli.command_line import CommandLine
from trainworks.root import ROOT
from trainworks.runs.yaml_files import Config

COLLECTED_AFTER = 30.0  # seconds without a look for garbage, which takes 0.3: a small training lasts not much longer
_collected = time.monotonic()


def typed(options: list[tuple[str, str]]) -> list[str]:
    """Return options as the words that one would type."""
    return [word for key, text in options for word in (f"--{key}", text)]


def words_of(line: CommandLine) -> list[str]:
    """Return the words that go on to every training: files and changes of the configuration."""
    return typed([*(("config", path) for path in line.files), *line.overrides])


def train_once(words: list[str], config: Config, quiet: bool = False) -> tuple[int, str]:
    """Train as `python train.py WORDS` does; return the exit code and, if quiet, what it wrote to stderr.

    A training on one device runs in this process, which saves the seconds of all imports. Others start processes that
    have to belong to one parent: each gets a process of its own.
    """
    if not _needs_one_process(config):
        out = subprocess.DEVNULL if quiet else None
        err = subprocess.PIPE if quiet else None
        command = [sys.executable, str(ROOT / "train.py"), *words]
        done = subprocess.run(command, check=False, stdout=out, stderr=err, text=True)
        return done.returncode, done.stderr or ""
    errors = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_as_typed(words))
        if quiet:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(errors))
        code = _train(words)
    return code, errors.getvalue()


def _train(words: list[str]) -> int:
    from trainworks.cli.main import main

    try:
        return main(words)
    finally:
        torch = sys.modules.get("torch")
        _collect(torch is not None and torch.cuda.is_available())
        if torch:
            torch.cuda.empty_cache()


def _collect(at_once: bool) -> None:
    """Free what trainings leave behind, seldom after small ones; on a GPU at once, whose memory the next one needs."""
    global _collected
    if at_once or time.monotonic() - _collected > COLLECTED_AFTER:
        gc.collect()
        _collected = time.monotonic()


@contextlib.contextmanager
def _as_typed(words: list[str]) -> Iterator[None]:
    """Let run.json say what would have to be typed for this training alone."""
    before, sys.argv = sys.argv, ["train.py", *words]
    try:
        yield
    finally:
        sys.argv = before


def _needs_one_process(config: Config) -> bool:
    """Whether a training takes one device of one machine."""
    trainer = config.get("trainer") or {}
    if "WORLD_SIZE" in os.environ or str(trainer.get("num_nodes", 1)) != "1":
        return False
    if str(trainer.get("devices", "auto")) == "1":
        return True
    if str(trainer.get("devices", "auto")) != "auto":
        return False
    if str(trainer.get("accelerator", "auto")) == "cpu":
        return True  # which is one process unless a number is given
    import torch

    return torch.cuda.device_count() <= 1
