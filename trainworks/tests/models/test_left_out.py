"""A metric without a value in an epoch is left out, and what monitors it passes over that epoch."""

import json
import re
from pathlib import Path

import pytest
import torch

from trainworks.tests.conftest import DIGITS, PLAIN, QUICK, Train

LABELS = """
model:
  class_path: trainworks.tests.strangers.PartlyLabelled
  init_args:
    scheduler: {class_path: torch.optim.lr_scheduler.ReduceLROnPlateau, init_args: {mode: max}}
    scheduler_monitor: val/accuracy
    metrics:
      accuracy: {init_args: {ignore_index: -1}}
callbacks:
  best: {init_args: {monitor: val/accuracy, mode: max}}
  early: {class_path: lightning.pytorch.callbacks.EarlyStopping, init_args: {monitor: val/accuracy, mode: max}}
trainer: {max_epochs: 4, limit_train_batches: 3, limit_val_batches: 4, num_sanity_val_steps: 0, accelerator: cpu}
"""
WORDS = ("--config", DIGITS, "--config", "labels.yaml", "--run_name", "a", *PLAIN)
TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")


@pytest.mark.parametrize("more", [(), pytest.param(TWO, marks=pytest.mark.two_processes)])
def test_what_monitors_a_metric_passes_over_epochs_without_its_value(
    train_process: Train, tmp_path: Path, more: tuple[str, ...]
) -> None:
    (tmp_path / "labels.yaml").write_text(LABELS)
    result = train_process(*WORDS, *more)
    assert result.code == 0, result.err
    lines = [line for line in result.out.splitlines() if line.startswith("epoch ")]
    assert ["val/accuracy" in line for line in lines] == [False, True, False, True]
    (said,) = (line for line in result.out.splitlines() if "nothing to count in epoch" in line)
    assert "epoch 1, or NaN, and left out: val/accuracy" in said
    assert said.endswith("; such an epoch does not count for EarlyStopping, ModelCheckpoint, ReduceLROnPlateau")
    best = torch.load(tmp_path / "logs/digits/a/checkpoints/best.ckpt", weights_only=True)
    assert best["epoch"] in (1, 3)
    last = torch.load(tmp_path / "logs/digits/a/checkpoints/last.ckpt", weights_only=True)
    assert last["lr_schedulers"][0]["last_epoch"] == 2


def test_a_schedule_that_watches_the_training_waits_for_no_validation(train: Train, tmp_path: Path) -> None:
    schedule = ("--model.scheduler", "torch.optim.lr_scheduler.ReduceLROnPlateau")
    watched = ("--model.scheduler_monitor", "train/loss", "--trainer.check_val_every_n_epoch", "2")
    watched += ("--trainer.num_sanity_val_steps", "0")
    result = train("--config", DIGITS, *QUICK, "--run_name", "a", *schedule, *watched)
    assert result.code == 0, result.err
    last = torch.load(tmp_path / "logs/digits/a/checkpoints/last.ckpt", weights_only=True)
    assert last["lr_schedulers"][0]["last_epoch"] == 1


def test_the_value_of_a_class_is_monitored_and_shown(train: Train, tmp_path: Path) -> None:
    (tmp_path / "f1.yaml").write_text(
        "model: {init_args: {metrics: {f1: {class_path: torchmetrics.classification.MulticlassF1Score, "
        "init_args: {num_classes: 10, average: none}}}}}"
    )
    words = ("--config", DIGITS, "--config", "f1.yaml", *QUICK, "--run_name")
    result = train(*words, "a", "--callbacks.best.monitor", "val/f1/3")
    assert result.code == 0, result.err
    assert "val/f1/" not in result.out.partition("best epoch")[0] and re.search(r"\ntest/f1/9 +\d", result.out)
    record = json.loads((tmp_path / "logs/digits/a/run.json").read_text())
    assert record["best"]["val/f1/3"] == record["best_metrics"]["val/f1/3"] == record["metrics"]["val/f1/3"]
    wrong = train(*words, "b", "--callbacks.best.monitor", "val/f1/33")
    assert (wrong.code, "monitors 'val/f1/33'" in wrong.err) == (2, True)
    assert "(did you mean val/f1/3?)" in wrong.err and not Path("logs/digits/b/checkpoints/last.ckpt").exists()


@pytest.mark.parametrize(("outputs", "says"), [(12, True), (10, False)])
def test_more_outputs_than_classes_are_said_before_the_training(train: Train, outputs: int, says: bool) -> None:
    result = train("--config", DIGITS, *QUICK, "--model.net.num_classes", str(outputs), "--model.metrics", "null")
    before = result.out.partition("\nepoch 1/1")[0]
    assert ("the network has 12 outputs for 10 classes of the data; state it" in before) is says, result.err
    assert result.out.count("outputs for") == says
