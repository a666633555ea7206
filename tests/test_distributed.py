"""Two real processes on the CPU, started in the two ways people do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import DIGITS, ROOT, Train

TWO = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")
SHORT = ("--trainer.max_epochs", "2", "--trainer.limit_train_batches", "3", "--run_name", "a")


def check(folder: Path, out: str) -> None:
    (run,) = (folder / "logs" / "digits").iterdir()
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    record = json.loads((run / "run.json").read_text())
    assert (record["exit_status"], record["hardware"]["num_devices"]) == (0, 2)
    assert out.count("tensorboard --logdir") == 1
    assert out.count("epoch 1/2") == 1
    assert len(list(run.glob("events*"))) == 2  # fit and test, from one rank


def test_lightning_starts_two_processes(train_process: Train, tmp_path: Path) -> None:
    result = train_process("--config", DIGITS, *TWO, *SHORT)
    assert result.code == 0, result.err
    check(tmp_path, result.out)
    predicted = train_process("predict", "--config", DIGITS, "--run_name", "a")
    assert predicted.code == 0, predicted.err
    rows = (tmp_path / "logs/digits/a/predictions.csv").read_text().splitlines()
    assert [int(row.split(",")[0]) for row in rows[1:]] == list(range(359))
    # two processes predict; what they wrote together agrees with what two processes tested
    right = sum(row.split(",")[1] == row.split(",")[3] for row in rows[1:])
    metrics = json.loads((tmp_path / "logs/digits/a/run.json").read_text())["metrics"]
    assert right / 359 == pytest.approx(metrics["test/accuracy"])


def test_torchrun_starts_two_processes(tmp_path: Path) -> None:
    words = [*TWO, *SHORT[:4]]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(ROOT / "train.py"), "--config", DIGITS, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr
    check(tmp_path, done.stdout)


def test_a_batch_that_does_not_divide_is_refused(train_process: Train) -> None:
    result = train_process("--config", DIGITS, *TWO, "--data.batch_size", "63")
    assert result.code == 2
    assert "data.batch_size must be a multiple of 2 devices, got 63; use 62 or 64" in result.err


def test_weights_of_one_and_two_processes_agree(train_process: Train, tmp_path: Path) -> None:
    """The same samples in every step; a network without batch norm makes the sums comparable."""
    net = (
        "--model.net.class_path",
        "src.models.networks.MLP",
        "--model.net.in_features",
        "64",
        "--model.net.hidden",
        "[16]",
    )
    net += ("--model.net.batch_norm", "false", "--model.net.num_classes", "10")
    (tmp_path / "still.yaml").write_text(
        "data: {init_args: {train_transform: [{class_path: torchvision.transforms.v2.ToDtype, "
        "init_args: {dtype: torch.float32, scale: true}}]}}"
    )
    weights = []
    for name, layout in (("one", ("--trainer.accelerator", "cpu")), ("two", TWO)):
        words = ("fit", "--config", DIGITS, "--config", str(tmp_path / "still.yaml"), *net, *layout)
        result = train_process(*words, *SHORT[:4], "--run_name", name)
        assert result.code == 0, result.err
        checkpoint = torch.load(tmp_path / f"logs/digits/{name}/checkpoints/last.ckpt", weights_only=True)
        weights.append(checkpoint["state_dict"])
    for key in weights[0]:
        torch.testing.assert_close(weights[0][key], weights[1][key], rtol=1e-4, atol=1e-5)
