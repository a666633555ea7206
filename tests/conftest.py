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

from src.cli.command_line import COMMANDS, EVALUATING
from src.runtime import contention
from src.runtime.threads import THREADS
from train import main

torch.set_num_threads(1)  # the suite runs a process a core
os.environ["OMP_NUM_THREADS"] = "1"  # the same for the processes it starts
# the names of event files of one process in one second differ in a number that is sorted as text
event_file_writer._global_uid = event_file_writer.AtomicCounter(1000)

ROOT = Path(__file__).parent.parent
DIGITS = str(ROOT / "configs" / "digits.yaml")
PLAIN = ("--callbacks.figures", "null", "--callbacks.notes.graph", "false")  # what takes a second of its own
QUICK = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", *PLAIN)
LONG = ("kills", "two_processes", "reach", "browser", "benchmarks", "long", "gpu")  # marks of what is not quick
STILL = (  # a config that draws no random transforms, so that processes can be compared
    "data: {init_args: {train_transform: [{class_path: torchvision.transforms.v2.ToDtype, "
    "init_args: {dtype: torch.float32, scale: true}}]}}"
)


def unthreaded() -> dict[str, str]:
    """Return the environment of a person's process: without what concerns threads."""
    return {name: value for name, value in os.environ.items() if not name.startswith(THREADS)}


def all_but(quick: Iterable[Any], cases: Iterable[Any], mark: pytest.MarkDecorator) -> list[Any]:
    """Return cases as parameters, with a mark on all but those that the quick suite keeps."""
    kept = list(quick)
    return [case if case in kept else pytest.param(case, marks=mark) for case in cases]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark folders as a whole, and as quick what has no mark of pyproject.toml that says why it takes long."""
    for item in items:
        folder = item.path.parent.name
        if folder in ("reach", "benchmarks"):
            item.add_marker(folder)
        if not any(item.get_closest_marker(name) for name in LONG):
            item.add_marker("quick")


def pytest_configure(config: pytest.Config) -> None:
    """Let warnings of packages turn nothing red in the processes that tests start, unless `-W error` asks for it."""
    if "error" not in (config.getoption("pythonwarnings") or []):
        os.environ.setdefault("PYTHONWARNINGS", "ignore")


@dataclass
class Result:
    code: int
    out: str
    err: str


Train = Callable[..., Result]


@pytest.fixture(autouse=True)
def _seed_and_restore_global_state() -> Iterator[None]:
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
    """Run train.py's main in this process, in an empty folder; seconds faster than a process of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(contention, "LEAST", 2.0)  # what is said does not depend on what else the machine does

    def run(*words: str) -> Result:
        _skip_if_deleted(words)
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        code = main(list(words))
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def train_process(tmp_path: Path) -> Train:
    """Run `python train.py` as a user does, in an empty folder."""

    def run(*words: str) -> Result:
        _skip_if_deleted(words)
        command = [sys.executable, str(ROOT / "train.py"), *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        return Result(done.returncode, done.stdout, done.stderr)

    return run


def _skip_if_deleted(words: tuple[str, ...]) -> None:
    """Skip what needs the config of a task that a cloner has deleted."""
    for word in {*words[:1]} & {*COMMANDS} - {*EVALUATING}:
        if not (ROOT / f"src/cli/commands/{word}.py").exists():
            pytest.skip(f"this project was made without {word}")
    for word in words:
        if word.startswith(f"{ROOT}/configs/") and not Path(word).exists():
            pytest.skip(f"{Path(word).relative_to(ROOT)} was deleted")


def same_weights(*runs: Path) -> bool:
    """Whether the last checkpoints of two runs hold the same weights bit by bit."""
    one, two = (torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in runs)
    return list(one) == list(two) and all(torch.equal(one[key], two[key]) for key in one)


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
