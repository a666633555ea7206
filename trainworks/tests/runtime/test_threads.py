"""How many threads torch takes: one for a small network, what a run began with when it continues."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainworks.models import load_model
from trainworks.runtime import threads
from trainworks.runtime.threads import limited_threads, usual_threads, worthwhile_threads
from trainworks.tests.conftest import DIGITS, PLAIN, QUICK, ROOT, Train, same_weights, unthreaded
from trainworks.tests.examples.networks import MLP, SmallCNN
from trainworks.tests.examples.text import GPT

SMALL = SmallCNN(1, 10, [16, 16, "M", 32, "M", 64])
WIDE = ("--model.net.layers", "[128, 128, M, 16]")  # worth two threads
WORDS = ("fit", "--config", DIGITS, *PLAIN, "--trainer.max_epochs", "2", "--trainer.limit_train_batches", "6")
TWO_CORES = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two cores to choose from"
)


@pytest.mark.parametrize(
    ("net", "inputs", "expected"),
    [
        (SMALL, torch.zeros(64, 1, 8, 8), 1),  # the digits
        (SMALL, torch.zeros(64, 1, 8, 16), 2),
        (SMALL, torch.zeros(64, 8, 16, 1), 2),  # channels last
        (SMALL, torch.zeros(64, 1, 28, 28, dtype=torch.uint8), 15),
        (SMALL, {"image": torch.zeros(64, 1, 28, 28), "text": "x"}, 15),
        (SMALL, torch.zeros(1, 1, 8, 8), 1),
        (SMALL, [torch.zeros(1, 8, 8)] * 64, 32),  # cannot be told
        (MLP(784, 10, [256]), torch.zeros(64, 784), 1),
        (MLP(784, 10, [64, 128, 64]), torch.zeros(128, 1, 28, 28), 1),  # flattens its images
        (MLP(784, 10, [8192, 8192]), torch.zeros(64, 784), 32),
        (GPT(256, 128, 128, 4, 4), torch.zeros(16, 128, dtype=torch.long), 5),
        (nn.Linear(300, 300), torch.zeros(16, 100, 20), 8),
        (nn.BatchNorm1d(8), torch.zeros(64, 8), 32),
    ],
)
def test_threads_come_from_the_shapes(net: nn.Module, inputs: Any, expected: int) -> None:
    assert worthwhile_threads(net, inputs, 32) == expected
    assert worthwhile_threads(net, inputs, 1) == 1


def train(folder: Path, *words: str, cores: int = 2, **environment: str) -> Any:
    """Run a training on so many cores, with nothing set that concerns threads."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    code = f"import os, runpy, sys\nos.sched_setaffinity(0, {chosen})\nsys.argv = sys.argv[1:]\n"
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, str(ROOT / "train.py"), *words]
    return subprocess.run(
        command, cwd=folder, env=unthreaded() | {"PYTHONPATH": str(ROOT)} | environment, capture_output=True, text=True
    )


def threads_of(run: Path) -> tuple[int, int]:
    record = json.loads((run / "run.json").read_text())["hardware"]
    return record["cores"], record["threads"]


@TWO_CORES
@pytest.mark.long
def test_a_run_takes_what_its_network_is_worth(tmp_path: Path) -> None:
    for name, words, cores, environment, expected in (
        ("digits", (), 2, {}, (2, 1)),
        ("wide", WIDE, 2, {}, (2, 2)),
        ("bound", WIDE, 1, {}, (1, 1)),
        ("stated", (), 2, {"OMP_NUM_THREADS": "2"}, (2, 2)),
    ):
        done = train(tmp_path, *WORDS, *words, "--run_name", name, cores=cores, **environment)
        assert done.returncode == 0, done.stderr
        assert threads_of(tmp_path / "logs/digits" / name) == expected


@TWO_CORES
@pytest.mark.kills
def test_a_run_goes_on_with_the_threads_it_began_with(tmp_path: Path) -> None:
    runs = tmp_path / "logs/digits"
    for name, cores in (("whole", 2), ("one", 1), ("killed", 2)):
        killed = {"BOMB": "kill:9"} if name == "killed" else {}
        words = [*WORDS, *WIDE, "--callbacks.killer", "trainworks.tests.bomb.Bomb", "--run_name", name]
        done = train(tmp_path, *words, cores=cores, **killed)
        assert done.returncode == (-9 if killed else 0), done.stderr
    assert not same_weights(runs / "whole", runs / "one")  # so the number counts
    done = train(tmp_path, *words, "--resume", "auto", cores=1)
    assert done.returncode == 0, done.stderr
    assert "the run goes on with 2 threads, as it began; a new one would take 1 here\n" in done.stdout
    assert same_weights(runs / "whole", runs / "killed")
    assert threads_of(runs / "killed") == (2, 2)


@pytest.mark.two_processes
@TWO_CORES
def test_processes_share_the_cores_and_take_the_same_number(tmp_path: Path) -> None:
    two = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--run_name", "a")
    done = train(tmp_path, *WORDS, *WIDE, *two)
    assert done.returncode == 0, done.stderr
    assert threads_of(tmp_path / "logs/digits/a") == (2, 1)


STARTED = """
import os, subprocess, sys
os.environ["OMP_NUM_THREADS"] = "1"  # as torchrun does, where it is not set
os.environ["TORCHELASTIC_RUN_ID"] = "none"
subprocess.run([sys.executable, "-c", "from trainworks.runtime.threads import is_stated; print(is_stated())"])
"""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="what a process was started with is not known here")
@pytest.mark.parametrize("stated", [{}, {"OMP_NUM_THREADS": "1"}])
def test_what_torchrun_sets_is_not_the_users(stated: dict[str, str]) -> None:
    environment = unthreaded() | stated
    done = subprocess.run([sys.executable, "-c", STARTED], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == f"{bool(stated)}\n", done.stderr


def test_the_number_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "allowed_cores", lambda _: 3)
    torch.set_num_threads(5)
    with limited_threads(usual_threads()):
        assert torch.get_num_threads() == 3
        os.environ["OMP_NUM_THREADS"] = "1"  # as Lightning does where it starts processes
    assert (torch.get_num_threads(), "OMP_NUM_THREADS" in os.environ) == (5, False)
    torch.set_num_threads(2)
    assert usual_threads() == 2  # no more than before: torch counts real cores


def test_a_loaded_model_takes_its_own_number_while_it_predicts(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train("fit", "--config", DIGITS, *QUICK, "--run_name", "a").code == 0
    seen = []
    model: Any = load_model("logs/digits/a/checkpoints/best.ckpt")
    model.net.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    for stated in (False, True):
        monkeypatch.setenv("OMP_NUM_THREADS", "2") if stated else monkeypatch.delenv("OMP_NUM_THREADS")
        model.predict(torch.zeros(1, 8, 8, dtype=torch.uint8))
    assert (seen, torch.get_num_threads()) == ([1, 2], 2)
