"""Several sets that validate or test: each has its own metrics, figures and lines."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule, LightningModule
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.functional.classification import multiclass_accuracy

from trainworks.datamodules.datasets import ArrayDataset
from trainworks.models import load_model
from trainworks.tests.conftest import CONFIGS, DIGITS, PLAIN, ROOT, Train, write_images
from trainworks.tests.examples.classifier import ClassifierModule
from trainworks.tests.examples.digits import DigitsDataModule
from trainworks.tests.models.test_base import make_loader, make_module, make_trainer, pytestmark  # noqa: F401
from trainworks.tests.test_exact_resume import scalars

AS_IT_IS = ("--data.train_transform", "[]", "--data.eval_transform", "[]")
NOISY = ("--config", DIGITS, "--data", "trainworks.tests.models.test_sets.NoisyDigits", *AS_IT_IS, "--run_name", "a")
SHORT = ("--trainer.limit_train_batches", "4", *PLAIN)
NAMES = ["val/loss", "val/accuracy", "val/noisy/loss", "val/noisy/accuracy"]


@dataclass(kw_only=True, eq=False, repr=False)
class NoisyDigits(DigitsDataModule):
    """The digits as floats, and sets of other digits with noise, of sizes that do not divide by two."""

    def load_splits(self) -> dict[str, ArrayDataset]:  # type: ignore[override]
        digits = super().load_splits()["all"]
        digits = digits.with_inputs(digits.inputs / 255)
        ends = {"train": 600, "test/noisy": 713, "val": 850, "val/noisy": 915, "test": 1100}
        starts = dict(zip(ends, [0, *ends.values()], strict=False))
        splits = {name: digits.subset(np.arange(starts[name], end)) for name, end in ends.items()}
        for name in ("val/noisy", "test/noisy"):
            noise = torch.rand(splits[name].inputs.shape, generator=torch.Generator().manual_seed(0))
            splits[name] = splits[name].with_inputs(splits[name].inputs + noise)
        return splits


@dataclass(kw_only=True, eq=False, repr=False)
class OnlyNamed(NoisyDigits):
    """Every set has a name of its own."""

    def load_splits(self) -> dict[str, ArrayDataset]:  # type: ignore[override]
        new = {"val": "val/b", "val/noisy": "val/a", "test": "test/b", "test/noisy": "test/a"}
        return {new.get(name, name): split for name, split in super().load_splits().items()}


def expected(checkpoint: Path, data: DigitsDataModule, stage: str) -> dict[str, float]:
    """Loss and accuracy of a checkpoint on every set, without loops and loaders."""
    module, values = load_model(checkpoint), {}
    for name, split in data.splits.items():
        if name.partition("/")[0] == stage:
            images, targets = split[:]  # type: ignore[index]
            with torch.inference_mode():
                logits = module(images)
            values[f"{name}/loss"] = float(nn.functional.cross_entropy(logits, targets))
            values[f"{name}/accuracy"] = float(multiclass_accuracy(logits, targets, 10, average="micro"))
    return values


def metrics_of(run: Path) -> dict[str, float]:
    metrics: dict[str, float] = json.loads((run / "run.json").read_text())["metrics"]
    return metrics


def test_each_set_has_metrics_figures_and_lines(train: Train, tmp_path: Path) -> None:
    best = ("--callbacks.best.monitor", "val/noisy/accuracy", "--callbacks.best.mode", "min")
    result = train(*NOISY, *best, "--trainer.max_epochs", "3", "--trainer.limit_train_batches", "4")
    assert result.code == 0, result.err
    run, data = tmp_path / "logs/digits/a", NoisyDigits()
    data.setup("test")
    assert list(data.splits) == ["train", "val", "val/noisy", "test", "test/noisy"]
    values, curves = metrics_of(run), scalars(run)
    last, kept = run / "checkpoints/last.ckpt", run / "checkpoints/best.ckpt"
    for name, value in (expected(last, data, "val") | expected(kept, data, "test")).items():
        assert values[name] == pytest.approx(value, rel=1e-5), name
    accuracies = [value for _, value in curves["val/noisy/accuracy"]]
    assert torch.load(kept, weights_only=True)["epoch"] == int(np.argmin(accuracies)) != 2
    assert curves["best/val/noisy/accuracy"][-1][1] == min(accuracies)

    shown = [re.sub(r" [0-9.]+", "", line) for line in result.out.splitlines() if line.startswith("epoch")]
    order = [f"{part}/{metric}" for metric in ("accuracy", "loss") for part in ("train", "val", "val/noisy")]
    assert shown[0].split("  ")[1:7] == order
    rows = [line.split("  ")[0] for line in result.out.splitlines() if re.match(r"test/\S+ +[0-9.]+$", line)]
    assert rows == ["test/loss", "test/accuracy", "test/noisy/loss", "test/noisy/accuracy"]

    tags: Any = EventAccumulator(str(run), size_guidance={"tensors": 0}).Reload().Tags()
    sets = ("val", "val/noisy", "test", "test/noisy")
    assert {f"confusion_matrix/{name}" for name in sets} | {f"mistakes/{name}" for name in sets} <= {*tags["images"]}
    assert {f"pr_curve/{name}/3" for name in sets} <= {*tags["tensors"]}
    written = b"".join(file.read_bytes() for file in run.glob("events*"))
    assert all(pattern in written for pattern in (b"^train/accuracy$", b"^val/(.+/)?accuracy$"))  # in one chart


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--callbacks.best.monitor", "val/noisy/acuracy"), 2),
        (("--callbacks.best.monitor", "val/noisy/accuracy", "--trainer.num_sanity_val_steps", "0"), 0),
        (("--config", "plateau.yaml"), 0),
        (("--trainer.val_check_interval", "0.5", "--trainer.limit_val_batches", "1"), 0),
    ],
)
def test_any_of_them_is_monitored(train: Train, tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    stop = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val/noisy/loss"}}
    plateau = {"class_path": "lightning.pytorch.cli.ReduceLROnPlateau", "init_args": {"monitor": "val/noisy/loss"}}
    content = {"callbacks": {"stop": stop}, "model": {"init_args": {"scheduler": plateau}}}
    (tmp_path / "plateau.yaml").write_text(yaml.safe_dump(content))
    result = train("fit", *NOISY, *words, "--trainer.max_epochs", "2", *SHORT)
    assert result.code == code, result.err
    if code:
        assert "monitors 'val/noisy/acuracy'" in result.err and "(did you mean val/noisy/accuracy?)" in result.err
        return
    curves = scalars(tmp_path / "logs/digits/a")
    checks = 4 if "--trainer.val_check_interval" in words else 2
    assert {name: len(curves[name]) for name in NAMES} == dict.fromkeys(NAMES, checks)


def test_no_set_needs_the_plain_name(train: Train, tmp_path: Path) -> None:
    words = ("--config", DIGITS, "--data", "trainworks.tests.models.test_sets.OnlyNamed", "--run_name", "a", *SHORT)
    words += ("--trainer.max_epochs", "1", "--callbacks.best.monitor", "val/a/loss")
    for command in ("fit", "test", "predict"):
        result = train(command, *words)
        assert result.code == 0, result.err
    names = {name for name in metrics_of(tmp_path / "logs/digits/a") if not name.startswith("train/")}
    assert names == {f"{part}/{k}/{m}" for part in ("val", "test") for k in "ab" for m in ("loss", "accuracy")}
    rows = (tmp_path / "logs/digits/a/predictions.csv").read_text().splitlines()
    assert len(rows) == 1 + 113  # of test/a, which load_splits returns first


@pytest.mark.two_processes
def test_two_processes_give_the_values_of_one(train_process: Train, tmp_path: Path) -> None:
    net = {"class_path": "trainworks.tests.examples.networks.MLP"}
    net["init_args"] = {"in_features": 64, "num_classes": 10, "hidden": [16], "batch_norm": False}  # type: ignore[assignment]
    (tmp_path / "net.yaml").write_text(yaml.safe_dump({"model": {"init_args": {"net": net}}}))
    words = (*NOISY[:-2], "--config", "net.yaml", "--trainer.accelerator", "cpu")
    found = []
    for devices in ("1", "2"):
        options = ("--trainer.strategy", "ddp") if devices == "2" else ()
        result = train_process(*words, "--trainer.devices", devices, *options, "--run_name", devices, *SHORT,
                               "--trainer.max_epochs", "1")  # fmt: skip
        assert result.code == 0, result.err
        found.append(metrics_of(tmp_path / "logs/digits" / devices))
    assert {*NAMES, *(name.replace("val", "test") for name in NAMES)} <= {*found[0]}
    assert found[1] == pytest.approx(found[0], rel=1e-4)


class TwoLoaders(LightningDataModule):
    """Somebody else's."""

    def _loader(self, seed: int, size: int) -> DataLoader[Any]:
        images = torch.rand(size, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        return DataLoader(TensorDataset(images, torch.arange(size) % 10), 32)

    def train_dataloader(self) -> Any:
        return self._loader(0, 64)

    def val_dataloader(self) -> Any:
        return [self._loader(1, 40), self._loader(2, 70), self._loader(3, 10)]

    test_dataloader = val_dataloader


def test_a_list_of_loaders(train: Train, tmp_path: Path) -> None:
    words = (
        "--config",
        DIGITS,
        "--data",
        "trainworks.tests.models.test_sets.TwoLoaders",
        "--model.net.num_classes",
        "10",
    )
    words += ("--model.metrics.accuracy.num_classes", "10", "--model.scheduler", "null", "--run_name", "a")
    result = train(*words, "--trainer.max_epochs", "1", "--callbacks.best.monitor", "val/2/loss", *SHORT)
    assert result.code == 0, result.err
    values, module = (
        metrics_of(tmp_path / "logs/digits/a"),
        load_model(tmp_path / "logs/digits/a/checkpoints/best.ckpt"),
    )
    for name, loader in zip(("test", "test/1", "test/2"), TwoLoaders().test_dataloader(), strict=True):
        images, targets = loader.dataset.tensors
        with torch.inference_mode():
            loss = float(nn.functional.cross_entropy(module(images), targets))
        assert values[f"{name}/loss"] == pytest.approx(loss, rel=1e-5)
        assert values[name.replace("test", "val") + "/loss"] == values[f"{name}/loss"]


class Foreign(LightningModule):
    """Somebody else's, which logs in the step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.layer(batch[0]), batch[1]))


def test_a_module_of_another_make_keeps_its_names() -> None:
    trainer = make_trainer()
    trainer.validate(Foreign(), [make_loader(), make_loader()], verbose=False)
    assert set(trainer.callback_metrics) == {"val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1"}


class OneStep(ClassifierModule):
    """Its step for validation is Lightning's of a single set."""

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:  # type: ignore[override]
        return super().validation_step(batch, batch_idx)


def test_a_step_that_cannot_tell_sets_apart(train: Train, tmp_path: Path) -> None:
    config = (
        Path(DIGITS)
        .read_text()
        .replace("trainworks.tests.examples.classifier.ClassifierModule", "trainworks.tests.models.test_sets.OneStep")
    )
    (tmp_path / "one.yaml").write_text(config)
    words = ("--config", "one.yaml", "--trainer.max_epochs", "1", *SHORT)
    assert train("fit", *words).code == 0
    result = train("fit", *words, *NOISY[2:])
    assert result.code == 2
    wanted = "write def validation_step(self, batch, batch_idx, dataloader_idx=0) in OneStep"
    assert f"error: the data has the sets val, val/noisy; {wanted}\n" == result.err


def test_a_checkpoint_names_no_copies_and_training_sums_are_apart() -> None:
    module, trainer = make_module(), make_trainer(max_epochs=2, val_check_interval=2)
    keys = set(module.state_dict())
    trainer.fit(module, make_loader(), [make_loader(), make_loader(16)])
    assert set(module.state_dict()) == keys
    assert set(trainer.callback_metrics) == {*module.metric_names("train"), *module.metric_names("val")}
    assert module.metric_names("val")[2:] == ["val/1/loss", "val/1/accuracy"]
    assert trainer.callback_metrics["val/1/loss"] == pytest.approx(float(trainer.callback_metrics["val/loss"]))
    (logged,) = trainer.validate(module, make_loader(), verbose=False)  # now a single one
    assert set(logged) == {"val/loss", "val/accuracy"}


def test_hospitals_as_the_documentation_has_them(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "hospitals.py").write_text(next(block for block in blocks if "class HospitalsDataModule" in block))
    monkeypatch.syspath_prepend(tmp_path)
    for folder, classes in (("west", "abc"), ("north", "bc"), ("south", "abc")):
        for name in classes:
            write_images(tmp_path / folder / name, 10)
    shutil.copy(tmp_path / "north/b/000.jpg", tmp_path / "south/b/same.jpg")  # sets of one stage may share files
    words = ("--config", str(CONFIGS / "image_folder.yaml"), "--data", "hospitals.HospitalsDataModule")
    words += ("--data.root", "west", "--data.others", "[north,south]", "--data.image_size", "16", "--run_name", "a")
    for command in ("fit", "test", "predict"):
        result = train(command, *words, "--trainer.max_epochs", "1", *PLAIN)
        assert result.code == 0, result.err
    log = (tmp_path / "logs/image_folder/a/train.log").read_text()
    assert "data: train 27, val 3, test/north 20, test/south 31; 3 classes: a 9, b 9, c 9" in log
    assert {"test/north/accuracy", "test/south/accuracy"} <= {*metrics_of(tmp_path / "logs/image_folder/a")}
    rows = (tmp_path / "logs/image_folder/a/predictions.csv").read_text().splitlines()
    assert (len(rows), rows[1].split(",")[:2]) == (21, ["b/000.jpg", "b"])
    checked = train("check", *words[:-2])
    assert (checked.code, "no problems" in checked.out) == (0, True)
    table = checked.out[checked.out.index("class ") :].splitlines()
    assert table[0].split() == ["class", "train", "val", "test/north", "test/south", "share", "of", "train"]
    assert table[1].split() == ["a", "9", "1", "0", "10", "33.3%"]
    assert len(table[0]) == len(table[1])
