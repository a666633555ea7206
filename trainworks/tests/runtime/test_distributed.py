"""Two real processes on the CPU, started in the two ways people do."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from trainworks.datamodules.sample_weights import balanced_weights
from trainworks.datamodules.samplers import ShardSampler
from trainworks.tests.conftest import CONFIGS, DIGITS, ROOT, STILL, Train, write_images

FOLDER = str(CONFIGS / "image_folder.yaml")
DDP = str(CONFIGS / "overlays/ddp.yaml")
TWO = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")
SHORT = ("--trainer.max_epochs", "2", "--trainer.limit_train_batches", "3", "--run_name", "a")


def check(folder: Path, out: str) -> None:
    (run,) = (folder / "logs" / "digits").iterdir()
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "last-1.ckpt"}
    record = json.loads((run / "run.json").read_text())
    assert (record["exit_status"], record["hardware"]["num_devices"]) == (0, 2)
    assert out.count("tensorboard --logdir") == 1
    assert out.count("epoch 1/2") == 1
    assert len(list(run.glob("events*"))) == 3  # fit, test and how it ended, from one rank


@pytest.mark.two_processes
def test_lightning_starts_two_processes(train_process: Train, tmp_path: Path) -> None:
    result = train_process("--config", DIGITS, *TWO, *SHORT)
    assert result.code == 0, result.err
    check(tmp_path, result.out)
    predicted = train_process("predict", "--config", DIGITS, "--run_name", "a")
    assert predicted.code == 0, predicted.err
    rows = (tmp_path / "logs/digits/a/predictions.csv").read_text().splitlines()
    samples = [int(row.split(",")[0]) for row in rows[1:]]  # their numbers in the data that the split was made from
    assert (len(samples), samples) == (359, sorted(set(samples)))
    # two processes predict; what they wrote together agrees with what two processes tested
    right = sum(row.split(",")[1] == row.split(",")[2] for row in rows[1:])
    metrics = json.loads((tmp_path / "logs/digits/a/run.json").read_text())["metrics"]
    assert right / 359 == pytest.approx(metrics["test/accuracy"])


@pytest.mark.two_processes
def test_torchrun_starts_two_processes(tmp_path: Path) -> None:
    words = [*TWO, *SHORT[:4]]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(ROOT / "train.py"), "--config", DIGITS, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr
    check(tmp_path, done.stdout)


def test_loaders_of_another_make_are_shared_among_processes(train_process: Train, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "model: trainworks.tests.strangers.Seen\ndata: trainworks.tests.strangers.Numbered\n"
    )
    result = train_process("--config", "own.yaml", *TWO, "--trainer.max_epochs", "1")
    assert result.code == 0, result.err
    seen = [json.loads((tmp_path / f"seen{rank}.json").read_text()) for rank in (0, 1)]
    assert [len(part) for part in seen] == [10, 10]
    assert sorted(seen[0] + seen[1]) == list(range(20))


@pytest.mark.two_processes
def test_a_batch_that_does_not_divide_is_refused(train_process: Train) -> None:
    result = train_process("--config", DIGITS, *TWO, "--data.batch_size", "63")
    assert result.code == 2
    assert "data.batch_size must be a multiple of 2 devices, got 63; use 62 or 64" in result.err


@pytest.mark.two_processes
def test_batch_norm_that_cannot_be_synchronised_is_refused(train_process: Train) -> None:
    result = train_process("--config", DIGITS, *TWO, "--trainer.sync_batchnorm", "true")
    assert result.code == 2
    assert "trainer.sync_batchnorm needs GPUs and the strategy ddp, got DDPStrategy on cpu" in result.err
    assert "Traceback" not in result.err


@pytest.mark.two_processes
def test_the_work_is_the_same_whatever_the_layout(train_process: Train, tmp_path: Path) -> None:
    """The same samples in every step; a network without batch norm makes the sums comparable."""
    net = (
        "--model.net.class_path",
        "trainworks.tests.examples.networks.MLP",
        "--model.net.in_features",
        "64",
        "--model.net.hidden",
        "[16]",
    )
    net += ("--model.net.batch_norm", "false", "--model.net.num_classes", "10")
    (tmp_path / "still.yaml").write_text(STILL)
    halves = ("--data.batch_size", "32", "--trainer.accumulate_grad_batches", "2", "--trainer.limit_train_batches", "6")
    layouts = {"one": TWO[:2], "two": (*TWO[:4], "--config", DDP), "halves": (*TWO[:2], *halves)}
    weights, metrics = [], []
    for name, layout in layouts.items():
        words = ("--config", DIGITS, "--config", str(tmp_path / "still.yaml"), *net, *SHORT[:4], *layout)
        result = train_process(*words, "--run_name", name)
        assert result.code == 0, result.err
        run = tmp_path / "logs/digits" / name
        weights.append(torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"])
        metrics.append(json.loads((run / "run.json").read_text())["metrics"])
    assert {name.split("/")[0] for name in metrics[0]} >= {"train", "val", "test"}
    for other in (1, 2):
        assert metrics[other] == pytest.approx(metrics[0], rel=1e-4)
        for key in weights[0]:
            torch.testing.assert_close(weights[0][key], weights[other][key], rtol=1e-4, atol=1e-5)


WATCH = """
import sys
from pathlib import Path
from lightning.pytorch import Callback

class Watch(Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        sampler = trainer.train_dataloader.batch_sampler.sampler
        if batch_idx == 0:
            keys = " ".join(map(str, sampler.keys()))
            with Path(f"rank{trainer.global_rank}.txt").open("a") as file:
                file.write(keys + "\\n")
"""


@pytest.mark.two_processes
def test_ranks_divide_a_balanced_order_anew_each_epoch(train_process: Train, tmp_path: Path) -> None:
    (tmp_path / "watch.py").write_text(WATCH)
    for name, count in (("many", 90), ("few", 10)):
        write_images(tmp_path / "data" / name, count)
    words = (
        "--data.root",
        "data",
        "--data.sampling",
        "balanced",
        "--data.val_fraction",
        "0",
        "--data.test_fraction",
        "0",
    )
    words += (
        "--data.image_size",
        "16",
        "--callbacks.best",
        "null",
        "--callbacks.watch",
        "watch.Watch",
        "--data.batch_size",
        "10",
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [
        sys.executable,
        str(ROOT / "train.py"),
        "fit",
        "--config",
        FOLDER,
        *words,
        *TWO,
        "--trainer.max_epochs",
        "2",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr
    ranks = [np.loadtxt(tmp_path / f"rank{rank}.txt", dtype=np.int64) for rank in range(2)]
    assert [keys.shape for keys in ranks] == [(2, 50), (2, 50)]  # epochs, samples
    weights = balanced_weights(np.repeat([0, 1], [10, 90]))
    for epoch in range(2):
        sampler = ShardSampler(100, shuffle=True, seed=0, weights=weights)
        sampler.set_epoch(epoch)
        assert np.array_equal(np.stack([keys[epoch] for keys in ranks], axis=1).ravel(), sampler.keys())
        few = np.isin(sampler.keys() - 100 * epoch, range(10))
        assert few.mean() == pytest.approx(0.5, abs=0.05)
    assert not np.array_equal(ranks[0][0], ranks[0][1] - 100)


@pytest.mark.two_processes
@pytest.mark.parametrize("storage", ["cache", "files"])
def test_unreadable_images_are_the_same_on_both_ranks(train_process: Train, tmp_path: Path, storage: str) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / "data" / name, 30)[7].write_bytes(b"")
    words = ("--config", FOLDER, "--data.root", "data", "--data.image_size", "16", "--data.storage", storage, *TWO)
    words += ("--trainer.max_epochs", "1", "--data.batch_size", "8", "--data.num_workers", "1")
    result = train_process(*words)
    assert result.code in (1, 2), result.err  # 1 where the other rank came upon it; and no rank waits for ever
    assert "007.jpg: cannot be read as an image: the file is empty" in result.err
    assert "Traceback" not in result.err
    result = train_process(*words, "--data.skip_unreadable", "true", "--run_name", "a")
    assert result.code == 0, result.err
    assert result.out.count("skipped 2 unreadable images:") == 1
    assert "data: train 47, val 5, test 6" in result.out
    assert re.search(r"^skipped images +2$", result.out, re.MULTILINE)
    assert len(list((tmp_path / "data").glob(".prepared/*.npy"))) == (storage == "cache")
