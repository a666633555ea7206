"""Several validation and test sets: each has its own metrics, wherever it comes from."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from src.datamodules import DigitsDataModule
from src.datamodules.datasets import ArrayDataset
from src.datamodules.splits import divide
from src.models import load_model
from tests.conftest import DIGITS, PLAIN, QUICK, Result, Train


@dataclass(kw_only=True, eq=False, repr=False)
class NoisyDigits(DigitsDataModule):
    """Digits with noisy ones beside them, in sets of unequal size."""

    clean: bool = True

    def load_splits(self) -> dict[str, Any]:
        parts: dict[str, Any] = self.divide(super().load_splits())
        sets = {f"{name}/noisy": _noisy(parts[name], count) for name, count in (("val", 97), ("test", 131))}
        kept = ("train", "val", "test") if self.clean else ("train",)
        return {name: parts[name] for name in kept} | sets


def _noisy(dataset: Any, count: int) -> ArrayDataset:
    noise = torch.randint(0, 120, dataset.inputs.shape, generator=torch.Generator().manual_seed(0))
    images = (dataset.inputs.int() + noise).clamp(0, 255).to(torch.uint8)
    return ArrayDataset(images[:count], dataset.targets[:count])


class Lists(LightningDataModule):
    """Loaders as a list, as anybody may return them."""

    def __init__(self) -> None:
        super().__init__()
        digits = DigitsDataModule()
        digits.load()
        self.sets: Any = digits.splits

    def _loader(self, name: str) -> Any:
        dataset = self.sets[name]
        pairs = [(image.float() / 255, target) for image, target in (dataset[k] for k in range(len(dataset)))]
        return DataLoader(pairs, 50)

    def train_dataloader(self) -> Any:
        return self._loader("train")

    def val_dataloader(self) -> Any:
        return [self._loader("val"), self._loader("test")]

    test_dataloader = val_dataloader


NOISY = ("--data", "tests.datamodules.test_sets.NoisyDigits")
METRICS = {f"{name}/{metric}" for name in ("val", "val/noisy") for metric in ("loss", "accuracy")}


def record(name: str = "a") -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(f"logs/digits/{name}/run.json").read_text())
    return content


def by_hand(path: str, data: NoisyDigits, split: str) -> tuple[float, float]:
    """Return loss and accuracy of a whole set at once."""
    module: Any = load_model(path)
    samples: Any = data.splits[split]
    with torch.no_grad():
        images: Tensor = samples.inputs
        for transform in data.eval_transform:
            images = transform(images)
        logits = module(images)
    return float(cross_entropy(logits, samples.targets)), float((logits.argmax(1) == samples.targets).float().mean())


@pytest.fixture
def trained(train: Train) -> Result:
    return train("--config", DIGITS, *NOISY, *QUICK, "--run_name", "a")


def test_each_set_has_its_metrics_rows_and_figures(train: Train, trained: Result) -> None:
    assert (trained.code, trained.err) == (0, "")
    metrics = record()["metrics"]
    assert {name for name in metrics if name.startswith("val")} == METRICS
    config = yaml.safe_load(Path("logs/digits/a/config.yaml").read_text())
    parser = ArgumentParser()
    parser.add_subclass_arguments(LightningDataModule, "data")
    data: Any = parser.instantiate_classes(parser.parse_object({"data": config["data"]})).data
    data.load()
    assert [len(data.splits[name]) for name in ("val", "val/noisy", "test", "test/noisy")] == [144, 97, 359, 131]
    for name in ("test", "test/noisy"):
        loss, accuracy = by_hand("logs/digits/a/checkpoints/best.ckpt", data, name)
        assert metrics[f"{name}/loss"] == pytest.approx(loss, rel=1e-5)
        assert metrics[f"{name}/accuracy"] == pytest.approx(accuracy)
    rows = re.findall(r"^(test/\S+)  +", trained.out, re.MULTILINE)
    assert rows == ["test/loss", "test/accuracy", "test/noisy/loss", "test/noisy/accuracy"]
    (line,) = [line for line in trained.out.splitlines() if line.startswith("epoch")]
    shown = [word for word in line.split() if "/" in word][1:]
    assert shown == [f"{name}/{metric}" for metric in ("accuracy", "loss") for name in ("train", "val", "val/noisy")]
    assert "val 144, val/noisy 97, test 359, test/noisy 131" in trained.out
    assert train("predict", "--config", DIGITS).code == 0
    assert len(Path("logs/digits/a/predictions.csv").read_text().splitlines()) == 1 + 359


def test_figures_of_each_set(train: Train) -> None:
    words = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--run_name", "a")
    assert train("--config", DIGITS, *NOISY, *words).code == 0
    tags = set(EventAccumulator("logs/digits/a").Reload().Tags()["images"])
    for name in ("val", "val/noisy", "test", "test/noisy"):
        assert {f"confusion_matrix/{name}", f"calibration/{name}", f"mistakes/{name}"} <= tags


def test_any_set_is_monitored(train: Train) -> None:
    best = ("--callbacks.best.monitor", "val/noisy/accuracy", "--callbacks.best.mode", "max")
    words = ("--trainer.max_epochs", "4", *QUICK[2:], "--run_name", "a")
    result = train("fit", "--config", DIGITS, *NOISY, *words, *best)
    assert (result.code, result.err) == (0, "")
    scores = [float(score) for score in re.findall(r"val/noisy/accuracy (\S+)", result.out) if "." in score][:4]
    checkpoint = torch.load("logs/digits/a/checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["epoch"] == scores.index(max(scores))
    assert record()["best"] == {"val/noisy/accuracy": pytest.approx(max(scores), abs=1e-4)}


def test_without_a_plain_set(train: Train) -> None:
    result = train("--config", DIGITS, *NOISY, "--data.clean", "false", *QUICK, "--run_name", "a")
    assert (result.code, result.err) == (0, "")
    assert "no best checkpoint is kept" in result.out
    assert {name for name in record()["metrics"] if not name.startswith("train")} == {
        f"{stage}/noisy/{metric}" for stage in ("val", "test") for metric in ("loss", "accuracy")
    }
    assert train("predict", "--ckpt_path", "logs/digits/a/checkpoints/last.ckpt").code == 0
    assert len(Path("logs/digits/a/predictions.csv").read_text().splitlines()) == 1 + 131


def test_loaders_as_a_list(train: Train) -> None:
    stated = ("--model.net.num_classes", "10", "--model.metrics.accuracy.num_classes", "10")
    words = ("--data", "tests.datamodules.test_sets.Lists", *QUICK, "--run_name", "a", *stated)
    result = train("--config", DIGITS, *words)
    assert (result.code, result.err) == (0, "")
    metrics = record()["metrics"]
    assert {name for name in metrics if name.startswith("val")} == {
        "val/loss", "val/accuracy", "val/1/loss", "val/1/accuracy",
    }  # fmt: skip
    assert metrics["val/1/loss"] == pytest.approx(metrics["test/1/loss"])
    assert metrics["val/loss"] != pytest.approx(metrics["val/1/loss"])


def test_a_run_that_is_interrupted_validates_alike(train: Train, tmp_path: Path) -> None:
    words = ("--trainer.max_epochs", "2", "--trainer.limit_train_batches", "6", *PLAIN)
    words = (*words, "--trainer.val_check_interval", "0.5")
    often = ("--callbacks.last.every_n_steps", "1", "--run_name")
    assert train("fit", "--config", DIGITS, *NOISY, *words, *often, "whole").code == 0
    bomb = ("--callbacks.bomb", "tests.test_exact_resume.Bomb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOMB", "batch:8")
        assert train("fit", "--config", DIGITS, *NOISY, *words, *bomb, *often, "cut").code == 1
    assert train("--resume", "logs/digits/cut").code == 0
    assert train("test", "--config", DIGITS, "--run_name", "whole").code == 0
    first, second = record("whole")["metrics"], record("cut")["metrics"]
    assert first == second
    ends = [torch.load(f"logs/digits/{name}/checkpoints/last.ckpt", weights_only=True) for name in ("whole", "cut")]
    assert all(torch.equal(ends[0]["state_dict"][key], value) for key, value in ends[1]["state_dict"].items())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train", "valid"), "load_splits returned 'valid'; call splits train, val, test, predict, all, or val/ or"),
        (("train", "noisy/val"), "load_splits returned 'noisy/val'"),
        (("train", "val", "val/x"), "the set val/x is empty; leave it out"),
    ],
)
def test_other_names_are_refused(names: tuple[str, ...], message: str) -> None:
    full = ArrayDataset(torch.zeros(4, 1), torch.zeros(4))
    loaded: dict[str, Dataset[Any]] = {name: full for name in names}
    loaded |= {"val/x": ArrayDataset(torch.zeros(0, 1), torch.zeros(0))} if "val/x" in names else {}
    with pytest.raises(ValueError, match=re.escape(message)):
        divide(loaded, 0.1, 0.1, 0, None, 0)


def test_no_validation_is_split_off_where_there_is_a_set() -> None:
    full = ArrayDataset(torch.zeros(20, 1), torch.zeros(20))
    splits = divide({"test/b": full, "val/x": full, "train": full, "test": full}, 0.5, 0.1, 0, None, 0)
    assert list(splits) == ["train", "val/x", "test", "test/b"]
    assert len(splits["train"]) == 20  # type: ignore[arg-type]
