"""What tests of trainings share: pytest's fixtures and hooks, to be imported in a conftest.py."""

import os
import random
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.summary.writer import event_file_writer

from trainworks.cli.main import main
from trainworks.root import ROOT
from trainworks.runtime import contention

torch.set_num_threads(1)  # a suite runs a process a core
os.environ["OMP_NUM_THREADS"] = "1"  # the same for the processes it starts
# the names of event files of one process in one second differ in a number that is sorted as text
event_file_writer._global_uid = event_file_writer.AtomicCounter(1000)

PLAIN = ("--callbacks.figures", "null", "--callbacks.notes", "null")  # what takes a second of its own
QUICK = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", *PLAIN)


def all_but(quick: Iterable[Any], cases: Iterable[Any], mark: pytest.MarkDecorator) -> list[Any]:
    """Return cases as parameters, with a mark on all but those that the quick suite keeps."""
    kept = list(quick)
    return [case if case in kept else pytest.param(case, marks=mark) for case in cases]


@dataclass
class Result:
    """What a command returned and printed."""

    code: int
    out: str
    err: str


Train = Callable[..., Result]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as quick what has no other mark of pyproject.toml, each of which says why a test takes long."""
    slow = {line.partition(":")[0] for line in config.getini("markers")} - {"quick"}
    for item in items:
        if not slow & {mark.name for mark in item.iter_markers()}:
            item.add_marker("quick")


def pytest_configure(config: pytest.Config) -> None:
    """Let warnings of packages turn nothing red in the processes that tests start, unless `-W error` asks for it."""
    if "error" not in (config.getoption("pythonwarnings") or []):
        os.environ.setdefault("PYTHONWARNINGS", "ignore")


@pytest.fixture(autouse=True)
def restored_state() -> Iterator[None]:
    """Seed all generators, and put back what a training in this process changes."""
    environment, threads = dict(os.environ), torch.get_num_threads()
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    yield
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Train:
    """Run a command in this process, in an empty folder; seconds faster than a process of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(contention, "MIN_SHARE", 2.0)  # what is said does not depend on what else the machine does

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
    """Save smooth pictures of (width, height), each of its own, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(num_images):
        seed = zlib.crc32(f"{folder.parent.name}/{folder.name}/{index}".encode())
        small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        paths.append(folder / f"{index:03}.{suffix}")
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(paths[-1])
    return paths
