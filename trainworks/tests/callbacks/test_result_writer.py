"""What predict, predict --input, a loaded model and a test say of the same inputs is the same, for every task."""

import csv
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from PIL import Image
from sklearn.metrics import f1_score
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, TensorDataset

from trainworks.callbacks import ResultWriter
from trainworks.callbacks.helpers.prediction_table import PredictionTable
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


LEFT_OUT = ("input", "target", "mask", "error", "loss", "iou", "f1")  # which a result has not


def rows_of(path: Path | str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def columns_of(result: Any) -> dict[str, str]:
    """Return a result as the cells of a row."""
    cells = {name: json.dumps(value) if isinstance(value, list) else str(value) for name, value in result.items()}
    return {name: value for name, value in cells.items() if name not in LEFT_OUT}


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
    monkeypatch.setattr("trainworks.tests.examples.detector.DetectorModule.threshold", 0.0)
    config = ("--config", str(CONFIGS / f"{name}.yaml"), *CASES[name], "--run_name", "a")
    result = train(*config, *QUICK, "--trainer.limit_val_batches", "1")
    assert (result.code, result.err) == (0, "")
    run = tmp_path / f"logs/{name}/a"
    assert {path.name for path in run.glob("*.csv")} == {"metrics.csv", "results.csv"}
    assert train("predict", *config).code == 0
    tested, predicted = rows_of(run / "results.csv"), rows_of(run / "predictions.csv")
    numbers = [int(row["input"]) for row in tested]  # of the samples in what the split was made from
    assert numbers == sorted(set(numbers)) and (numbers == list(range(len(numbers)))) == (name in SPLIT)
    losses = [float(row.pop("loss")) for row in tested if "loss" in row]
    assert [{key: value for key, value in row.items() if key != "mask"} for row in predicted] == tested
    metrics = json.loads((run / "run.json").read_text())["metrics"]
    if name != "detection":  # whose losses are terms of a network
        assert len(losses) == len(tested) and np.mean(losses) == pytest.approx(metrics["test/loss"], rel=1e-4)
    model: Any = load_model(run / "checkpoints/best.ckpt")
    model.predict.data.load()
    samples = model.predict.data.splits["test"]
    inputs = [samples[number][0] for number in range(len(samples))]
    assert [columns_of(found.columns()) for found in model.predict(inputs)] == [columns_of(row) for row in tested]
    assert train("predict", *config, "--input", write_inputs(inputs), "--output", "out.csv").code == 0
    assert [columns_of(row) for row in rows_of("out.csv")] == [columns_of(row) for row in tested]
    assert {row["error"] for row in rows_of("out.csv")} == {""}
    check_targets(name, tested, samples, metrics)


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
        assert "target" not in rows[0] and all(0 <= float(row["iou"]) <= 1 for row in rows)
    if name == "detection":
        for row, (_, target) in zip(rows, samples, strict=False):
            assert json.loads(row["target"])["boxes"] == target["boxes"].tolist()
            assert json.loads(row["target"])["labels"] == [str(k - 1) for k in target["labels"].tolist()]
            assert len(json.loads(row["boxes"])) == int(row["count"]) and 0 <= float(row["f1"]) <= 1


def test_several_values_stand_in_columns_of_their_own(train: Train, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    (tmp_path / "t.csv").write_text("\n".join(["x,y,far,warm", *(",".join(map(str, row)) for row in values)]) + "\n")
    config = ("--config", str(CONFIGS / "diabetes.yaml"), "--data", "trainworks.datamodules.ArrayDataModule")
    config += ("--data.train", "t.csv", "--data.targets", "[far,warm]", "--run_name", "a")
    assert train(*config, *QUICK).code == 0
    (row, *_) = rows = rows_of("logs/diabetes/a/results.csv")
    assert list(row) == ["input", "target_far", "target_warm", "far", "warm", "loss"] and len(rows) == 10
    assert train("predict", *config, "--input", "t.csv", "--output", "out.csv").code == 0
    found = load_model("logs/diabetes/a/checkpoints/best.ckpt").predict("t.csv")  # type: ignore[operator]
    assert [columns_of(result.value) for result in found] == [columns_of(row) for row in rows_of("out.csv")]


def test_a_language_model_goes_on_with_texts_and_has_no_table_of_a_test(train: Train, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("The language\nWhen a class\n")
    small = ("--model.net.width", "8", "--model.net.num_layers", "1", "--trainer.limit_test_batches", "1")
    config = ("--config", str(CONFIGS / "gpt.yaml"), *small, "--run_name", "a")
    result = train(*config, *QUICK, "--trainer.limit_val_batches", "1")
    assert (result.code, "left out" in result.out) == (0, False)
    assert not list(tmp_path.glob("logs/gpt/a/results*"))
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
    assert not list(run.glob("results*")) and "left out" not in result.out
    assert train("predict", *config, *plain).code == 0
    predicted = rows_of(run / "predictions.csv")
    assert list(predicted[0]) == ["input", "target", "prediction", *(f"probability_{k}" for k in range(10))]
    model: Any = load_model(run / "checkpoints/last.ckpt")
    model.predict.data.load()
    inputs = list(model.predict.data.splits["test"].inputs)
    assert [columns_of(found) for found in model.predict(inputs)] == [columns_of(row) for row in predicted]
    assert train("predict", *config, *plain, "--input", write_inputs(inputs), "--output", "out.csv").code == 0
    assert [columns_of(row) for row in rows_of("out.csv")] == [columns_of(row) for row in predicted]
    words = ("--run_name", "a", *plain, "--input", "new", "--output", "no.csv")
    failed = train("predict", "--config", DIGITS, "--model", f"{__name__}.Unpacking", *words)
    message = "predict_step takes a batch apart, and --input brings no targets; write batch[0] if"
    assert (failed.code, message in failed.err, "Traceback" in failed.err) == (2, True, False), failed.err


class Unpacking(Foreign):
    """Takes for granted that a batch has targets."""

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        inputs, _ = batch
        return super().predict_step(inputs, batch_idx)


class Misnamed(ClassifierModule):
    """Fails where it makes results."""

    def results(self, predictions: Tensor, class_names: list[str] | None) -> Any:
        return super().results(predictions, ["only one"])


def test_a_table_is_not_worth_a_training(train: Train, tmp_path: Path) -> None:
    result = train("--config", DIGITS, *QUICK, "--model", f"{__name__}.Misnamed", "--run_name", "a")
    assert (result.code, result.err) == (0, "")
    assert result.out.count("results.csv is left out: ValueError: zip() argument 2 is longer") == 1
    assert not list(tmp_path.glob("logs/digits/a/results*"))


def test_only_what_was_tested_has_a_row_and_options_may_stand_in_a_config(train: Train) -> None:
    words = ("--trainer.limit_test_batches", "2", "--callbacks.predictions.top_k", "2")
    words += ("--callbacks.predictions.probabilities", "true", "--run_name", "a")
    assert train("--config", DIGITS, *QUICK, *words).code == 0
    rows = rows_of("logs/digits/a/results.csv")
    assert len(rows) == 128 and {"class_2", "confidence_2", "probability_9"} <= rows[0].keys()
    Path("logs/digits/a/worst.png").mkdir()  # so that it cannot be written
    many = train("test", "--config", DIGITS, "--run_name", "a", "--callbacks.predictions.top_k", "12", *FIGURES)
    assert (many.code, many.out.count("the figure worst/test could not be drawn: IsADirectoryError")) == (0, 1)
    Path("logs/digits/a/results.csv").unlink()
    Path("logs/digits/a/results.csv").mkdir()
    blocked = train("test", "--config", DIGITS, "--run_name", "a", "--callbacks.figures", "null")
    assert (blocked.code, blocked.out.count("the table of the test is left out: [Errno 21]")) == (0, 1), blocked.err
    assert many.out.count("results.csv: callbacks.predictions.top_k is 12, but there are 10 classes\n") == 1
    assert train("--config", DIGITS, *QUICK, "--callbacks.predictions", "null", "--run_name", "b").code == 0
    assert not list(Path("logs/digits/b").glob("results*"))
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


FIGURES = ("--callbacks.figures", "trainworks.callbacks.EvaluationFigures")
TWO = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")


@pytest.mark.two_processes
def test_two_processes_write_one_table_in_order(train: Train, train_process: Train, tmp_path: Path) -> None:
    config = ("--config", DIGITS, "--run_name", "a")
    assert train(*config, *QUICK).code == 0
    alone = rows_of("logs/digits/a/results.csv")
    (tmp_path / "logs/digits/a/results.csv").unlink()
    result = train_process("test", *config, *TWO)
    assert result.code == 0, result.err
    together = rows_of(tmp_path / "logs/digits/a/results.csv")
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
    rows = rows_of("logs/foreign/a/results.csv")
    assert [(row["input"], row["target"]) for row in rows] == [(str(k), str(k % 10)) for k in range(60)]
    result = train_process("--config", "foreign.yaml", *TWO, *QUICK, "--run_name", "b")
    assert result.code == 0, result.err
    assert result.out.count("results.csv is left out: several processes share a loader that does not say") == 1
    assert not list(tmp_path.glob("logs/foreign/b/results*"))


class Plain(LightningModule):
    """Returns what it is told to of inputs of four numbers, of which the first is their own number."""

    def __init__(self, predict: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.predict = predict

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.predict(batch[0] if isinstance(batch, list) else batch)


class Data(LightningDataModule):
    """Gives the loaders that it is told to."""

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        self.predict_dataloader = make  # type: ignore[method-assign]


INPUTS = torch.arange(7.0)[:, None].expand(7, 4)
ROWS = TensorDataset(INPUTS)


class Stream(IterableDataset[Tensor]):
    """Samples without a length."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter(INPUTS)


class OwnLoader(DataLoader[Any]):
    """Takes what no loader of torch takes, so that nobody can make it anew."""

    def __init__(self, values: Tensor) -> None:
        super().__init__(TensorDataset(values), 3, drop_last=True)


class OwnBatches(BatchSampler):
    """Batches from the last sample to the first."""

    def __init__(self) -> None: ...

    def __iter__(self) -> Iterator[list[int]]:
        return iter([[6, 5, 4], [3, 2], [1, 0]])

    def __len__(self) -> int:
        return 3


Predicted = Callable[[Callable[[Tensor], Any], Callable[[], Any]], None]


@pytest.fixture
def predicted(tmp_path: Path) -> Iterator[Predicted]:
    """Predict as the command does, into out.csv."""

    def run(predict: Callable[[Tensor], Any], make: Callable[[], Any]) -> None:
        writer = ResultWriter(str(tmp_path))
        writer.output = tmp_path / "out.csv"
        quiet: Any = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = Trainer(accelerator="cpu", callbacks=[writer], enable_checkpointing=False, **quiet)
        with warnings.catch_warnings(action="ignore"):  # of Lightning, about shuffled loaders and the like
            trainer.predict(Plain(predict), datamodule=Data(make), return_predictions=False)

    logging.disable(logging.INFO)
    yield run
    logging.disable(logging.NOTSET)


class Pairs(Dataset[Any]):
    """Takes keys that are no numbers."""

    def __getitem__(self, key: tuple[str, int]) -> Tensor:
        return INPUTS[key[1]]


LOADERS: dict[str, Callable[[], Any]] = {
    "keys that are no numbers": lambda: DataLoader(Pairs(), 3, sampler=[("a", k) for k in range(7)]),
    "arguments without names": lambda: DataLoader(ROWS, 3, False, None),
    "a class of its own, which leaves a sample out": lambda: OwnLoader(INPUTS),
    "a batch sampler of its own": lambda: DataLoader(ROWS, batch_sampler=OwnBatches()),
    "batches from a sampler": lambda: DataLoader(ROWS, None, sampler=BatchSampler(range(7), 3, False)),
    "shuffled": lambda: DataLoader(ROWS, batch_size=3, shuffle=True),
    "without a length": lambda: DataLoader(Stream(), batch_size=3),
}


@pytest.mark.parametrize("name", LOADERS)
def test_each_input_of_any_loader_has_its_row(predicted: Predicted, tmp_path: Path, name: str) -> None:
    predicted(lambda x: (x.sum(1), [f"no. {k:.0f}" for k in x[:, 0].tolist()]), LOADERS[name])
    rows = sorted(list(row.values()) for row in rows_of(tmp_path / "out.csv"))  # they stand in the loader's order
    assert rows == [[str(k), str(4.0 * k), f"no. {k}"] for k in range(7)]
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


@dataclass
class Opaque:
    """An object that fits into no cell."""

    number: int = 1


WHOLE: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "a map of each input": (lambda x: x[:, None, None].expand(-1, 2, 5, 4), "'prediction' is float32 (3, 2, 5, 4)"),
    "a part that is no row": (lambda x: Output(x, x[:, None].expand(-1, 2, 4)), "'hidden' is float32 (3, 2, 4)"),
    "a list of parts": (lambda x: [x, x[:, 0]], "returned list"),
    "more rows than inputs": (lambda x: x.repeat(2, 1), "'prediction' is float32 (6, 4)"),
    "masks": (lambda x: [{"masks": row.expand(1, 5, 4)} for row in x], "a result holds float32 (1, 5, 4)"),
    "objects": (lambda x: [Opaque(int(row[0])) for row in x], "a result holds Opaque"),
    "a loss": (lambda x: x.mean(), "returned float32 ()"),
}


@dataclass
class Output:
    """What some modules return."""

    logits: Tensor
    hidden: Tensor


@pytest.mark.parametrize("name", WHOLE)
def test_what_makes_no_rows_is_saved_as_it_came(
    predicted: Predicted, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A file for each batch; the last one, of a single input, looks like a row sometimes."""
    predict, reason = WHOLE[name]
    (tmp_path / "out_batches").mkdir()
    for stale in ("out.csv", "out_batches/000004.pt"):
        (tmp_path / stale).write_text("of an earlier command")
    predicted(predict, lambda: DataLoader(ROWS, batch_size=3))
    said = f"predictions: {tmp_path}/out_batches, a .pt file of what came back of each of 3 batches, since "
    out = capsys.readouterr().out
    assert out.startswith(said) and reason in out and out.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["000000.pt", "000001.pt", "000002.pt"]
    for number, batch in enumerate(INPUTS.split(3)):
        expected, path = predict(batch), tmp_path / f"out_batches/{number:06}.pt"
        found = torch.load(path, weights_only=name != "objects")
        expected = vars(expected) if isinstance(expected, Output) else expected
        torch.testing.assert_close(found, expected) if name != "objects" else None
        assert path.stat().st_size < 3000 and (name != "objects" or found == expected)


def test_each_loader_has_a_table_and_samples_alone_have_none(predicted: Predicted, tmp_path: Path) -> None:
    two = TensorDataset(INPUTS[:5], torch.arange(5))
    loaders = [DataLoader(ROWS, 3), DataLoader(two, 2), DataLoader(ROWS, None)]
    predicted(lambda x: x.sum(-1), lambda: loaders)
    assert [row["input"] for row in rows_of(tmp_path / "out_0.csv")] == [str(k) for k in range(7)]
    assert rows_of(tmp_path / "out_1.csv")[4] == {"input": "4", "target": "4", "prediction": "16.0"}
    assert len([*tmp_path.glob("out_2_batches/*.pt")]) == 7
    assert {path.name for path in tmp_path.iterdir()} == {"out_0.csv", "out_1.csv", "out_2_batches"}


def test_rows_end_with_the_first_batch_that_makes_none(
    predicted: Predicted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    returned = iter([INPUTS[:2, 0], INPUTS[3, 0], None, INPUTS[6:, 0]])
    predicted(lambda x: next(returned), lambda: DataLoader(ROWS, 2))
    assert [row["prediction"] for row in rows_of(tmp_path / "out.csv")] == ["0.0", "1.0"]
    assert [torch.load(path).tolist() for path in sorted(tmp_path.glob("out_batches/*"))] == [3.0, [6.0]]
    reason = "since predict_step returned float32 (), not a result for each of 2 inputs\n"
    assert reason in capsys.readouterr().out
    predicted(lambda x: None, lambda: DataLoader(ROWS, 2))
    assert capsys.readouterr().out == f"predictions: none, {reason}".replace("float32 ()", "NoneType")
    assert [path.name for path in tmp_path.rglob("*.*")] == ["out.csv"]  # a step that returns nothing may write it


def test_boxes_alone_make_rows(predicted: Predicted, tmp_path: Path) -> None:
    predicted(lambda x: [{"boxes": row[None], "path": Path("a/b")} for row in x], lambda: DataLoader(ROWS, 3))
    assert rows_of(tmp_path / "out.csv")[2] == {"input": "2", "boxes": "[[2.0, 2.0, 2.0, 2.0]]", "path": "a/b"}
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]  # a COCO file needs labels and scores


def test_a_killed_command_goes_on_with_rows_and_begins_anew_with_batches(tmp_path: Path) -> None:
    table, other = (PredictionTable(tmp_path / "out.csv", rank, 2, []) for rank in range(2))
    for one, first in ((table, 0), (other, 1)):
        one.begin("command")
        one.append({index: {"input": index} for index in range(first, 8, 2)})
    again, its_other = (PredictionTable(tmp_path / "out.csv", rank, 2, []) for rank in range(2))
    for one in (again, its_other):
        one.resume("command", 20, 2)
    assert (again.num_done, its_other.num_done) == (8, 8)
    again.save(INPUTS[:1], 0, "no rows")
    its_other.save({"path": Path("a"), "values": INPUTS.numpy()}, 1, "no rows")
    assert [path.name for path in sorted(tmp_path.glob("*/*"))] == ["000004.pt", "000007.pt"]  # after four batches
    assert torch.load(tmp_path / "out_batches/000007.pt")["values"].shape == (7, 4)
    table.resume("command", 20, 2)
    assert (table.num_done, [path.name for path in tmp_path.glob("*/*")]) == (0, ["000007.pt"])  # of the other process
    other.resume("command", 20, 2)
    assert (other.num_done, [*tmp_path.glob("*/*")]) == (0, [])
