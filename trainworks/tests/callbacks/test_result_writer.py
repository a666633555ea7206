"""What predict, predict --input, a loaded model and a test say of the same inputs is the same, for every task."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import f1_score
from torch import Tensor

from trainworks.callbacks.helpers.result_table import ResultTable
from trainworks.models import load_model
from trainworks.tests import strangers
from trainworks.tests.conftest import CONFIGS, DIGITS, QUICK, Train, all_but, write_images
from trainworks.tests.examples.classifier import ClassifierModule

SCENES = ("--data.num_train", "8", "--data.num_val", "4", "--data.num_test", "10")
CASES = {
    "digits": ("--callbacks.channels_last", "null"),  # which sums in another order than a loaded model
    "multilabel": (),
    "diabetes": (),
    "segmentation": SCENES,
    "detection": (*SCENES, "--model.net.score_thresh", "0.01"),
}


SPLIT = ("segmentation", "detection")  # whose test samples are a dataset of their own


def rows_of(path: Path | str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def columns_of(result: Any) -> dict[str, str]:
    """Return a result as the cells of a row."""
    cells = {name: json.dumps(value) if isinstance(value, list) else str(value) for name, value in result.items()}
    return {name: value for name, value in cells.items() if name not in ("input", "target", "mask", "error")}


def write_inputs(inputs: list[Tensor]) -> str:
    """Save inputs as a folder of images or as a table, and return its name."""
    if inputs[0].ndim == 1:
        lines = [",".join(map(str, row.tolist())) for row in inputs]
        Path("new.csv").write_text("\n".join([",".join(f"x{k}" for k in range(len(inputs[0]))), *lines]) + "\n")
        return "new.csv"
    Path("new").mkdir()
    for number, image in enumerate(inputs):
        Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(f"new/{number:04}.png")
    return "new"


@pytest.mark.parametrize("name", all_but(["digits"], CASES, pytest.mark.long))
def test_all_ways_to_a_result_agree(train: Train, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainworks.tests.examples.detector.SURE", 0.0)
    config = ("--config", str(CONFIGS / f"{name}.yaml"), *CASES[name], "--run_name", "a")
    result = train(*config, *QUICK, "--trainer.limit_val_batches", "1")
    assert (result.code, result.err) == (0, "")
    run = tmp_path / f"logs/{name}/a"
    assert {path.name for path in run.glob("*predictions*")} == {"test_predictions.csv"}
    assert train("predict", *config).code == 0
    tested, predicted = rows_of(run / "test_predictions.csv"), rows_of(run / "predictions.csv")
    numbers = [int(row["input"]) for row in tested]  # of the samples in what the split was made from
    assert numbers == sorted(set(numbers)) and (numbers == list(range(len(numbers)))) == (name in SPLIT)
    assert [{key: value for key, value in row.items() if key != "mask"} for row in predicted] == tested
    model: Any = load_model(run / "checkpoints/best.ckpt")
    model.predict.data.load()
    samples = model.predict.data.splits["test"]
    inputs = [samples[number][0] for number in range(len(samples))]
    assert [columns_of(found.columns()) for found in model.predict(inputs)] == [columns_of(row) for row in tested]
    assert train("predict", *config, "--input", write_inputs(inputs), "--output", "out.csv").code == 0
    assert [columns_of(row) for row in rows_of("out.csv")] == [columns_of(row) for row in tested]
    assert {row["error"] for row in rows_of("out.csv")} == {""}
    check_targets(name, tested, samples, json.loads((run / "run.json").read_text())["metrics"])


def check_targets(name: str, rows: list[dict[str, str]], samples: Any, metrics: dict[str, float]) -> None:
    """See that the targets are those of the data, and that with them the metrics of the test come out."""
    if name == "digits":
        assert np.mean([row["target"] == row["class"] for row in rows]) == pytest.approx(metrics["test/accuracy"])
    if name == "diabetes":
        errors = [abs(float(row["target"]) - float(row["value"])) for row in rows]
        assert np.mean(errors) == pytest.approx(metrics["test/mae"], rel=1e-4)
    if name == "multilabel":
        found = [[[str(k) in row[key].split(";") for k in range(10)] for row in rows] for key in ("target", "labels")]
        assert f1_score(*found, average="macro", zero_division=0) == pytest.approx(metrics["test/f1"], abs=1e-5)
    if name == "segmentation":
        assert "target" not in rows[0]
    if name == "detection":
        for row, (_, target) in zip(rows, samples, strict=False):
            assert json.loads(row["target"])["boxes"] == target["boxes"].tolist()
            assert json.loads(row["target"])["labels"] == [str(k - 1) for k in target["labels"].tolist()]
            assert len(json.loads(row["boxes"])) == int(row["count"])


def test_several_values_stand_in_columns_of_their_own(train: Train, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    (tmp_path / "t.csv").write_text("\n".join(["x,y,far,warm", *(",".join(map(str, row)) for row in values)]) + "\n")
    config = ("--config", str(CONFIGS / "diabetes.yaml"), "--data", "trainworks.datamodules.ArrayDataModule")
    config += ("--data.train", "t.csv", "--data.targets", "[far,warm]", "--run_name", "a")
    assert train(*config, *QUICK).code == 0
    (row, *_) = rows = rows_of("logs/diabetes/a/test_predictions.csv")
    assert list(row) == ["input", "target_far", "target_warm", "far", "warm"] and len(rows) == 10
    assert train("predict", *config, "--input", "t.csv", "--output", "out.csv").code == 0
    found = load_model("logs/diabetes/a/checkpoints/best.ckpt").predict("t.csv")  # type: ignore[operator]
    assert [columns_of(result.value) for result in found] == [columns_of(row) for row in rows_of("out.csv")]


def test_a_language_model_goes_on_with_texts_and_has_no_table_of_a_test(train: Train, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("The language\nWhen a class\n")
    small = ("--model.net.width", "8", "--model.net.num_layers", "1", "--trainer.limit_test_batches", "1")
    config = ("--config", str(CONFIGS / "gpt.yaml"), *small, "--run_name", "a")
    result = train(*config, *QUICK, "--trainer.limit_val_batches", "1")
    assert (result.code, "left out" in result.out) == (0, False)
    assert not list(tmp_path.glob("logs/gpt/a/*predictions*"))
    assert train("predict", *config, "--input", "texts.txt", "--output", "out.csv").code == 0
    found = load_model("logs/gpt/a/checkpoints/best.ckpt").predict(["The language", "When a class"])  # type: ignore[operator]
    assert [row["text"] for row in rows_of("out.csv")] == [result.text for result in found]


class Foreign(strangers.Tested):
    """A module of another make, which returns columns."""

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        probabilities = self(batch[0] if isinstance(batch, tuple | list) else batch).softmax(dim=1)
        return {"prediction": probabilities.argmax(dim=1), "probability": probabilities}


def test_columns_of_a_foreign_module_are_rows_everywhere(train: Train, tmp_path: Path) -> None:
    config = ("--config", DIGITS, "--model", f"{__name__}.Foreign", "--run_name", "a")
    plain = ("--callbacks.best", "null", "--callbacks.channels_last", "null")
    result = train(*config, *QUICK, *plain)
    assert result.code == 0, result.err
    run = tmp_path / "logs/digits/a"
    assert not list(run.glob("*predictions*")) and "left out" not in result.out
    assert train("predict", *config, *plain).code == 0
    predicted = rows_of(run / "predictions.csv")
    assert list(predicted[0]) == ["input", "target", "prediction", *(f"probability_{k}" for k in range(10))]
    model: Any = load_model(run / "checkpoints/last.ckpt")
    model.predict.data.load()
    inputs = list(model.predict.data.splits["test"].inputs)
    assert [columns_of(found) for found in model.predict(inputs)] == [columns_of(row) for row in predicted]
    assert train("predict", *config, *plain, "--input", write_inputs(inputs), "--output", "out.csv").code == 0
    assert [columns_of(row) for row in rows_of("out.csv")] == [columns_of(row) for row in predicted]
    for name, message in (
        ("Unpacking", "predict_step takes a batch apart, and --input brings no targets; write batch[0] if"),
        ("Paired", "predict_step must return a result for each of 64 inputs, got 2"),
    ):
        other = ("--config", DIGITS, "--model", f"{__name__}.{name}", "--run_name", "a", *plain)
        failed = train("predict", *other, "--input", "new", "--output", "no.csv")
        assert (failed.code, message in failed.err, "Traceback" in failed.err) == (2, True, False), failed.err


class Unpacking(Foreign):
    """Takes for granted that a batch has targets."""

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        inputs, _ = batch
        return super().predict_step(inputs, batch_idx)


class Paired(Foreign):
    """Returns two tensors of all samples where a result for each is asked for."""

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return tuple(super().predict_step(batch, batch_idx).values())


class Misnamed(ClassifierModule):
    """Fails where it makes results."""

    def results(self, predictions: Tensor, class_names: list[str] | None) -> Any:
        return super().results(predictions, ["only one"])


def test_a_table_is_not_worth_a_training(train: Train, tmp_path: Path) -> None:
    result = train("--config", DIGITS, *QUICK, "--model", f"{__name__}.Misnamed", "--run_name", "a")
    assert (result.code, result.err) == (0, "")
    assert result.out.count("test_predictions.csv is left out: ValueError: zip() argument 2 is longer") == 1
    assert not list(tmp_path.glob("logs/digits/a/*predictions*"))


def test_only_what_was_tested_has_a_row_and_options_may_stand_in_a_config(train: Train) -> None:
    words = ("--trainer.limit_test_batches", "2", "--callbacks.predictions.top_k", "2")
    words += ("--callbacks.predictions.probabilities", "true", "--run_name", "a")
    assert train("--config", DIGITS, *QUICK, *words).code == 0
    rows = rows_of("logs/digits/a/test_predictions.csv")
    assert len(rows) == 128 and {"class_2", "confidence_2", "probability_9"} <= rows[0].keys()
    many = train("test", "--config", DIGITS, "--run_name", "a", "--callbacks.predictions.top_k", "12")
    assert many.out.count("test_predictions.csv: callbacks.predictions.top_k is 12, but there are 10 classes\n") == 1
    assert train("--config", DIGITS, *QUICK, "--callbacks.predictions", "null", "--run_name", "b").code == 0
    assert not list(Path("logs/digits/b").glob("*predictions*"))
    assert train("test", "--config", DIGITS, "--run_name", "b").code == 0
    images = write_images(Path("new"), 2, (8, 8))
    assert train("predict", "--config", DIGITS, "--run_name", "b", "--input", "new").code == 0
    assert [row["input"] for row in rows_of("logs/digits/b/predictions.csv")] == [str(path) for path in images]


def test_inputs_of_which_none_can_be_read(train: Train, tmp_path: Path) -> None:
    assert train("fit", "--config", DIGITS, *QUICK, "--run_name", "a").code == 0
    (tmp_path / "new").mkdir()
    for number in range(3):
        (tmp_path / f"new/{number}.png").write_text("no image")
    assert train("predict", "--config", DIGITS, "--run_name", "a", "--input", "new", "--output", "out.csv").code == 0
    assert [list(row) for row in rows_of("out.csv")] == [["input", "error"]] * 3
    assert all("cannot be read as an image" in row["error"] for row in rows_of("out.csv"))


def test_a_command_that_was_killed_after_its_last_batch_is_ended(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("predict", "--config", DIGITS, "--run_name", "a", "--data.batch_size", "4", "--input", "new")
    assert train("fit", "--config", DIGITS, *QUICK, "--run_name", "a").code == 0
    write_images(tmp_path / "new", 8, (8, 8))
    assert train(*words, "--output", "out.csv").code == 0
    whole = (tmp_path / "out.csv").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(ResultTable, "join", lambda table: {}["killed"])
        assert train(*words, "--output", "out.csv").code == 1
    (tmp_path / "out.csv").unlink()
    assert (tmp_path / "out.csv.part0").read_text().count("\n") == 1 + 8
    assert train(*words, "--output", "out.csv").code == 0
    assert (tmp_path / "out.csv").read_bytes() == whole


TWO = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")


@pytest.mark.two_processes
def test_two_processes_write_one_table_in_order(train: Train, train_process: Train, tmp_path: Path) -> None:
    config = ("--config", DIGITS, "--run_name", "a")
    assert train(*config, *QUICK).code == 0
    alone = rows_of("logs/digits/a/test_predictions.csv")
    (tmp_path / "logs/digits/a/test_predictions.csv").unlink()
    result = train_process("test", *config, *TWO)
    assert result.code == 0, result.err
    together = rows_of(tmp_path / "logs/digits/a/test_predictions.csv")
    kept = ("input", "target", "class")
    assert [[row[key] for key in kept] for row in together] == [[row[key] for key in kept] for row in alone]
    assert not list(tmp_path.glob("logs/digits/a/*.part*"))


class OwnLoaders(strangers.OwnData):
    """Loaders of another make, with a test."""

    def test_dataloader(self) -> Any:
        return self._loader(shuffle=False)


FOREIGN = f"""
model:
  class_path: trainworks.tests.examples.classifier.ClassifierModule
  init_args:
    net: {{class_path: torch.nn.Linear, init_args: {{in_features: 64, out_features: 10}}}}
    loss: torch.nn.CrossEntropyLoss
    optimizer: {{class_path: torch.optim.SGD, init_args: {{lr: 0.1}}}}
data: {__name__}.OwnLoaders
experiment: foreign
"""


@pytest.mark.two_processes
def test_samples_of_foreign_loaders_are_counted_on_one_process(
    train: Train, train_process: Train, tmp_path: Path
) -> None:
    (tmp_path / "foreign.yaml").write_text(FOREIGN)
    assert train("--config", "foreign.yaml", *QUICK, "--run_name", "a").code == 0
    rows = rows_of("logs/foreign/a/test_predictions.csv")
    assert [(row["input"], row["target"]) for row in rows] == [(str(k), str(k % 10)) for k in range(60)]
    result = train_process("--config", "foreign.yaml", *TWO, *QUICK, "--run_name", "b")
    assert result.code == 0, result.err
    assert result.out.count("test_predictions.csv is left out: several processes share a loader that does not say") == 1
    assert not list(tmp_path.glob("logs/foreign/b/*predictions*"))
