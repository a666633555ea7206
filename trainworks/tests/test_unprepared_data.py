"""Data that nobody prepared, through the real entry point: read, or refused in one message that says what to do."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from trainworks.datamodules import VisionDataModule
from trainworks.models import load_model
from trainworks.tests.conftest import CONFIGS, DIGITS, QUICK, Train, write_images

ARRAYS = str(CONFIGS / "arrays.yaml")
FOLDER = str(CONFIGS / "image_folder.yaml")
DIABETES = str(CONFIGS / "diabetes.yaml")
SHORT = ("--trainer.max_epochs", "1", "--callbacks.figures", "null", "--run_name", "a")


def rows(count: int, form: str) -> str:
    return "".join(form.format(age=20 + k, income=k * 0.5, target=k % 2) for k in range(count))


READ = {  # tables as they come, and the first sample
    "semicolons and decimal commas": "age;income;targets\n" + rows(40, "{age};{income};{target}\n").replace(".", ","),
    "tabs": "age\tincome\ttargets\n" + rows(40, "{age}\t{income}\t{target}\n"),
    "a mark of its encoding": "\ufeffage,income,targets\n" + rows(40, "{age},{income},{target}\n"),
    "empty lines": "age,income,targets\n" + rows(40, "{age},{income},{target}\n\n") + "\n\n",
    "labels as pandas writes them": "age,income,targets\n" + rows(40, "{age},{income},{target}.0\n"),
    "quotes": '"age","income","targets"\n' + rows(40, '"{age}","{income}","{target}"\n'),
    "Windows": "age,income,targets\r\n" + rows(40, "{age},{income},{target}\r\n"),
    "spaces": "age, income, targets\n" + rows(40, "{age}, {income}, {target}\n"),
    "truth as pandas writes it": "age,income,targets\n"
    + rows(40, "{age},{income},{target}\n").replace(",0.0,", ",False,").replace(",1.0,", ",True,"),
}


@pytest.mark.parametrize("kind", READ)
def test_tables_that_are_read(train: Train, tmp_path: Path, kind: str) -> None:
    (tmp_path / "t.csv").write_text(READ[kind], encoding="utf-8", newline="")
    result = train("--config", ARRAYS, "--data.train", "t.csv", *SHORT)
    assert (result.code, result.err) == (0, "")
    assert "data: train 32, val 4, test 4; 2 classes: '0' 16, '1' 16" in result.out
    module = torch.load("logs/arrays/a/checkpoints/last.ckpt", weights_only=True)["module"]
    assert module["init_args"]["net"]["init_args"]["in_features"] == 2
    assert train("predict", "--config", ARRAYS).code == 0


def test_labels_in_columns_beside_images(train: Train, tmp_path: Path) -> None:
    """All default callbacks see targets of shape (B, K)."""
    write_images(tmp_path / "a", 60)
    table = "".join(f"a/{k:03}.jpg,{k % 2},{int(k % 10 == 0)}\n" for k in range(60))
    (tmp_path / "t.csv").write_text(f"path,stripe,dot\n{table}")
    (tmp_path / "labels.yaml").write_text(
        "model: {class_path: trainworks.tests.examples.multilabel.MultilabelModule, init_args: {"
        "net: {class_path: trainworks.tests.examples.networks.SmallCNN, init_args: {in_channels: 3, layers: [4, M], "
        "num_classes: '${data.init_args.num_classes}', pool_size: 2}}, optimizer: torch.optim.AdamW, "
        "loss: {class_path: torch.nn.BCEWithLogitsLoss, init_args: {pos_weight: '${data.init_args.pos_weight}'}}}}\n"
        "callbacks: {best: {init_args: {monitor: val/loss, mode: min}}}\n"
    )
    data = (
        "--data.root",
        ".",
        "--data.csv_file",
        "t.csv",
        "--data.targets",
        "[stripe, dot]",
        "--data.batch_size",
        "16",
    )
    common = ("--config", FOLDER, "--config", "labels.yaml", *data)
    result = train(*common, "--trainer.max_epochs", "1", "--run_name", "a")
    assert (result.code, result.err) == (0, "")
    assert "data: train 49, val 5, test 6; 2 labels: stripe 23, dot 5\n" in result.out and "left out" not in result.out
    assert "stripe" in Path("logs/image_folder/a/results.csv").read_text()
    path = "logs/image_folder/a/checkpoints/best.ckpt"
    weights = torch.load(path, weights_only=True)["module"]["init_args"]["loss"]["init_args"]["pos_weight"]
    assert len(weights) == 2 and weights[1] > 5 > weights[0]
    assert train("predict", "--ckpt_path", path, "--input", "a", "--output", "p.csv").code == 0
    assert (tmp_path / "p.csv").read_text().startswith("input,labels")
    assert load_model(path).predict("a/000.jpg").probabilities.keys() == {"stripe", "dot"}


def test_whole_numbers_stay_values_where_nobody_asks_for_classes(train: Train, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("age,targets\n" + "".join(f"{k},{k % 7}.0\n" for k in range(60)))
    data = ("--data", "trainworks.datamodules.ArrayDataModule", "--data.train", "t.csv", "--data.num_features", "1")
    result = train("--config", DIABETES, *data, *SHORT)
    assert (result.code, result.err) == (0, "")
    assert "classes" not in result.out


def test_counts_are_values_where_the_configuration_is_for_values(train: Train, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("age,targets\n" + "".join(f"{k},{k % 7}\n" for k in range(60)))
    result = train(
        "--config", DIABETES, "--data", "trainworks.datamodules.ArrayDataModule", "--data.train", "t.csv", *SHORT
    )
    assert (result.code, result.err, "classes" in result.out) == (0, "", False)
    assert train("predict", "--config", DIABETES).code == 0


def test_float_labels_of_arrays_are_classes_too(train: Train, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", inputs=np.random.default_rng(0).random((60, 3)), targets=np.arange(60) % 3 * 1.0)
    result = train("--config", ARRAYS, "--data.train", "a.npz", *SHORT)
    assert (result.code, result.err) == (0, "")
    assert "data: train 49, val 5, test 6; 3 classes: '0' 16, '1' 16, '2' 17" in result.out


HEAD = "age,income,targets\n41,1.5,0\n"
LATIN = "age,income,straße\n1,2,0\n".encode("latin-1")
REFUSED: dict[str, tuple[str | bytes, str]] = {
    "an empty cell": (
        HEAD + "41.9,,0\n",
        "t.csv, line 3, column 'income': the cell is empty; fill it in, or leave",
    ),
    "a text": (
        HEAD + "old,3,1\n",
        r"line 3, column 'age': expected a finite number, got 'old'; write texts and dates",
    ),
    "a date": (HEAD + "42,2024-01-01,1\n", r"line 3, column 'income': expected a finite number, got '2024-01-01'"),
    "not a number": (HEAD + "42,nan,1\n", r"line 3, column 'income': expected a finite number, got 'nan'"),
    "infinity": (HEAD + "42,inf,1\n", r"line 3, column 'income': expected a finite number, got 'inf'"),
    "too many cells": (HEAD + "42,1,1,7\n", r"line 3: 4 cells, but the header has 3: age, income, targets"),
    "another encoding": (LATIN, r"t.csv: is not UTF-8; save the table in that encoding"),
    "a column twice": ("age,age,targets\n41,1.5,0\n", r"its header has the column 'age' twice; give each a name"),
    "no targets": ("age,income,label\n1,2,0\n", r"no column 'targets'"),
    "nothing": ("", r"no column 'targets'; its header is nothing"),
    "a header alone": ("age,targets\n", r"a table needs rows"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_tables_that_are_refused(train: Train, tmp_path: Path, kind: str) -> None:
    content, message = REFUSED[kind]
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    result = train("--config", ARRAYS, "--data.train", "t.csv", *SHORT)
    assert (result.code, "Traceback" in result.err, len(result.err.splitlines())) == (2, False, 1)
    assert re.search(message, result.err), result.err
    assert not (tmp_path / "logs").exists()


def test_files_that_are_no_images_are_counted(train: Train, tmp_path: Path) -> None:
    for name in "ab":
        write_images(tmp_path / "images" / name, 12)
    for number, ending in enumerate(("svg", "SVG", "psd", "txt")):
        (tmp_path / f"images/a/{number}.{ending}").write_bytes(b"x")
    for name in (".hidden.svg", "Thumbs.db", "notes"):
        (tmp_path / "images/b" / name).write_bytes(b"x")
    words = ("--config", FOLDER, "--data.root", "images", "--data.image_size", "16")
    result = train("fit", *words, *SHORT)
    assert (result.code, result.err) == (0, "")
    (line,) = [line for line in result.out.splitlines() if line.startswith("left out")]
    assert line.startswith("left out, since they are none of .jpg, .jpeg, .png")
    assert line.endswith(": 2 .svg, 1 .psd, 1 .txt, 1 without an ending")
    checked = train("check", *words)
    assert (checked.code, line in checked.out) == (0, True)


def test_masks_of_which_nothing_counts_are_said_before_the_training(train: Train, tmp_path: Path) -> None:
    masks = np.zeros((40, 16, 16), dtype=np.uint8)
    masks[:, 4:8, 4:8] = 255
    np.savez(tmp_path / "a.npz", inputs=np.zeros((40, 3, 16, 16), dtype=np.float32), targets=masks)
    data = ("--data", "trainworks.datamodules.ArrayDataModule", "--data.train", "a.npz", "--data.num_classes", "2")
    ignored = ("--model.loss.ignore_index", "255", "--model.metrics.miou.ignore_index", "255")
    result = train("fit", "--config", str(CONFIGS / "segmentation.yaml"), *data, *ignored, *SHORT)
    assert (result.code, result.err) == (0, "")
    line = (
        "masks: 32 training masks hold 0 (93.8%), 255 (6.2%), and no pixel of class 1; 255 usually counts for nothing"
    )
    assert f"data: train 32, val 4, test 4\n{line} (ignore_index)\n" in result.out


class Drawn(Dataset[Any]):
    """Images and masks; each is drawn anew."""

    def __init__(self, number: int, values: list[int]) -> None:
        self.number, self.values = number, values

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        return torch.rand(3, 4, 4), torch.tensor(self.values)[torch.randint(len(self.values), (1, 4, 4))]


@pytest.mark.parametrize(
    ("number", "values", "said"),
    [
        (9, [0, 1, 2], ""),
        (9, [0, 2, 2], r"masks: 9 training masks hold 2 \(.*, 0 \(.*, and no pixel of class 1"),
        (10_000, [0, 2, 2], ""),  # the rest may have it
        (10_000, [2], r"masks: the first \d+ of 10,000 training masks hold 2 \(100.0%\), and no pixel of class 0, 1"),
        (
            10_000,
            [0, 1, 2] + [255] * 60,
            r"masks: the first \d+ of 10,000 training masks hold 255 \(9\d.\d%\), .*; 255 usu",
        ),
    ],
)
def test_the_first_masks_tell_only_what_they_can(number: int, values: list[int], said: str) -> None:
    torch.manual_seed(0)
    data = VisionDataModule(root=".", train_dataset=lambda _: Drawn(number, values), num_classes=3, val_fraction=0)
    data.load()
    state = torch.get_rng_state()
    lines = data.describe().splitlines()
    assert torch.equal(torch.get_rng_state(), state)
    assert len(lines) == 1 + bool(said)
    assert re.match(said, lines[-1] if said else ""), lines


class Endless(IterableDataset[tuple[Tensor, int]]):
    """Digits without end."""

    def __init__(self, root: str) -> None:
        self.root = root

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        while True:
            yield torch.zeros(1, 8, 8), 3


def test_a_scheduler_over_data_without_a_length_wants_steps(train: Train) -> None:
    data = ("--data", "trainworks.datamodules.VisionDataModule", "--data.root", ".", "--data.num_classes", "10")
    data += ("--data.train_dataset", "trainworks.tests.test_unprepared_data.Endless", "--data.num_workers", "0")
    result = train("fit", "--config", DIGITS, *data, *QUICK[:2], "--run_name", "a")
    assert (result.code, "Traceback" in result.err) == (2, False)
    assert "needs the number of steps, which is not known; set trainer.max_steps" in result.err
    result = train("fit", "--config", DIGITS, *data, "--trainer.max_steps", "3", *QUICK[4:], "--run_name", "b")
    assert (result.code, result.err) == (0, "")


METRICS = {
    "torchmetrics.classification.BinaryAUROC": (
        r"model.metrics.x: BinaryAUROC cannot take predictions of float32 \(64, 10\) and targets of int64 \(64,\); "
        r"take torchmetrics.classification.MulticlassAUROC, num_classes 10 \("
    ),
    "torchmetrics.classification.BinaryAccuracy": "take torchmetrics.classification.MulticlassAccuracy",
    "torchmetrics.MeanSquaredError": r"model.metrics.x: MeanSquaredError cannot take predictions of float32 \(64, 10\)",
}


MISFITS = {  # what is typed, and what the error says
    "--model.net.in_channels 3": r"model.net.features.0: Conv2d cannot take float32 \(64, 1, 8, 8\): .*have 3 channels",
    "--model.net.num_classes 5 --model.metrics null": r"model.loss: CrossEntropyLoss cannot take float32 \(64, 5\) and "
    r"int64 \(64,\): Target \d is out of bounds; for 5 outputs labels go from 0 to 4: look at num_classes",
    "--data.train_transform [] --data.eval_transform []": r"Conv2d cannot take uint8 .*; "
    r"begin data.train_transform and data.eval_transform with torchvision.transforms.v2.ToDtype, dtype torch.float32",
    "--model.loss torch.nn.BCEWithLogitsLoss": r"BCEWithLogitsLoss cannot take float32 \(64, 10\) and int64",
    "--model.loss timm.loss.SoftTargetCrossEntropy": r"SoftTargetCrossEntropy cannot take float32 \(64, 10\) and int64",
    "--model.net torchvision.models.vit_b_32 --model.net.image_size 32": "VisionTransformer cannot take .*: Wrong",
    "--model.net.layers [8,M,M,M,M] --trainer.num_sanity_val_steps 0": r"MaxPool2d cannot take float32 \(64, 8, 1, 1\)",
}


@pytest.mark.parametrize("words", MISFITS)
def test_a_first_batch_that_does_not_fit_names_the_layer(train: Train, words: str) -> None:
    result = train("fit", "--config", DIGITS, *words.split(), *QUICK, "--run_name", "a")
    assert (result.code, "Traceback" in result.err) == (2, False)
    assert re.search(MISFITS[words], result.err), result.err
    assert not Path("logs").exists()  # nothing was trained


class Batches(VisionDataModule):
    """Samples that are no pairs of an input and a target."""

    def load_splits(self) -> dict[str, Any]:
        images = [torch.rand(1, 8, 8) for _ in range(64)]
        samples: dict[str, list[Any]] = {
            "three": [(image, 1, "name") for image in images],
            "names": [{"image": image, "label": 1} for image in images],
            "texts": [(image, "cat") for image in images],
            "doubles": [(image.double(), 1) for image in images],
        }
        return {"train": self._open(samples[self.root])}  # type: ignore[arg-type]


BATCHES = {  # what the dataset gives, and what the error says
    "three": r"a batch must be \(inputs, targets\), got a list \(Tensor, Tensor, tuple\); let the dataset return",
    "names": r"a batch must be \(inputs, targets\), got a dict \(image, label\); let the dataset return",
    "texts": r"a batch must be \(inputs, targets\), got a list \(Tensor, tuple\); .*, the target a number or a tensor",
    "doubles": r"Conv2d cannot take float64 .*; begin data.train_transform and .* dtype torch.float32 and, for uint8,",
}


@pytest.mark.parametrize("kind", BATCHES)
def test_batches_that_are_no_pairs_of_tensors(train: Train, kind: str) -> None:
    data = ("--data", "trainworks.tests.test_unprepared_data.Batches", "--data.root", kind, "--data.num_classes", "10")
    words = ("--data.train_dataset", "torchvision.datasets.FakeData", "--data.num_workers", "0")
    result = train("fit", "--config", DIGITS, *data, *words, *QUICK, "--data.train_transform", "[]", "--run_name", "a")
    assert (result.code, "Traceback" in result.err) == (2, False), result.err
    assert re.search(BATCHES[kind], result.err), result.err


class Breaking(torch.nn.Linear):
    """A network with a mistake of its own, and one that meets a strange batch late."""

    num_calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.num_calls += 1
        if self.out_features == 10 and self.num_calls > 5:
            return super().forward(images)  # not flattened
        if self.out_features == 11:
            raise RuntimeError("a mistake")
        return super().forward(images.flatten(1))


@pytest.mark.parametrize(("outputs", "said"), [("11", "Error: a mistake"), ("10", "mat1 and mat2")])
def test_own_code_that_fails_and_a_late_batch_keep_their_traceback(train: Train, outputs: str, said: str) -> None:
    net = ("--model.net", "trainworks.tests.test_unprepared_data.Breaking", "--model.net.in_features", "64")
    words = ("--model.net.out_features", outputs, "--trainer.num_sanity_val_steps", "0")
    result = train("fit", "--config", DIGITS, *net, *words, *QUICK, "--run_name", "a")
    assert (result.code, "Traceback" in result.err) == (1, True)
    assert re.search(said, result.err), result.err


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_that_does_not_fit_names_the_one_that_does(train: Train, metric: str) -> None:
    result = train("fit", "--config", DIGITS, "--model.metrics.x", metric, *QUICK, "--run_name", "a")
    assert (result.code, "Traceback" in result.err) == (2, False)
    assert len(result.err.splitlines()) <= 2
    assert re.search(METRICS[metric], result.err), result.err
    assert not Path("logs").exists()  # nothing was trained
