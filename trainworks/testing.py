"""Fixtures, hooks and helpers for tests of trainings; a conftest.py imports them."""

import os
import random
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.summary.writer import event_file_writer

from trainworks.cli.main import main
from trainworks.datamodules.randomness import kept_generators
from trainworks.root import ROOT
from trainworks.runtime import contention

torch.set_num_threads(1)  # a suite runs one process per core
os.environ["OMP_NUM_THREADS"] = "1"  # also in the processes that tests start
# event files of the same second differ in a number that is sorted as text: all get four digits
event_file_writer._global_uid = event_file_writer.AtomicCounter(1000)

PLAIN = ("--callbacks.figures", "null", "--callbacks.notes", "null")  # each of them takes a second
QUICK = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", *PLAIN)


def all_but(quick: Iterable[Any], cases: Iterable[Any], mark: pytest.MarkDecorator) -> list[Any]:
    """Return cases as parameters, and mark all but those in `quick`."""
    unmarked = list(quick)
    return [case if case in unmarked else pytest.param(case, marks=mark) for case in cases]


@dataclass
class Result:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


Train = Callable[..., Result]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests as quick that have no other mark of pyproject.toml; those marks say why a test takes long."""
    slow = {line.partition(":")[0] for line in config.getini("markers")} - {"quick"}
    for item in items:
        if not slow & {mark.name for mark in item.iter_markers()}:
            item.add_marker("quick")


def pytest_configure(config: pytest.Config) -> None:
    """Ignore warnings in the processes that tests start, unless pytest was started with `-W error`."""
    if "error" not in (config.getoption("pythonwarnings") or []):
        os.environ.setdefault("PYTHONWARNINGS", "ignore")


@pytest.fixture(autouse=True)
def restored_state() -> Iterator[None]:
    """Seed the random generators, and restore the state that a training in this process changes."""
    threads = torch.get_num_threads()
    with patch.dict(os.environ), kept_generators():
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Train:
    """Run a command in this process, in an empty folder; this saves the seconds of starting a process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(contention, "MIN_SHARE", 2.0)  # so that other load on the machine changes no output

    def run(*words: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        code = main(list(words))
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def train_process(tmp_path: Path) -> Train:
    """Run `python train.py` as a user does, in an empty folder."""

    def run(*words: str) -> Result:
        command = [sys.executable, str(ROOT / "train.py"), *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    return run


def write_images(folder: Path, num_images: int, size: tuple[int, int] = (24, 20), suffix: str = "jpg") -> list[Path]:
    """Save smooth images, all different, of `size` (width, height), and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(num_images):
        seed = zlib.crc32(f"{folder.parent.name}/{folder.name}/{index}".encode())
        small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        paths.append(folder / f"{index:03}.{suffix}")
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(paths[-1])
    return paths
