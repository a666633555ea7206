"""validate --threshold."""

import csv
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchmetrics.classification import MulticlassConfusionMatrix
from torchmetrics.wrappers import LambdaInputTransformer

from trainworks.callbacks.evaluation_figures import _plot, _severities
from trainworks.cli.validation_fits import MEASURES, _best, _curve, _scores
from trainworks.errors import UsageError
from trainworks.models import load_model
from trainworks.tests.conftest import CONFIGS, PLAIN, QUICK, Train
from trainworks.tests.examples.detector import DetectorModule

TABLE = """
model:
  class_path: trainworks.tests.examples.KIND
  init_args:
    net: {class_path: torch.nn.Linear, init_args: {in_features: 3, out_features: 2}}
    loss: torch.nn.LOSS
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.05}}
data: {class_path: trainworks.datamodules.ArrayDataModule, init_args: {train: a.npz, batch_size: 64}}
trainer: {max_epochs: 2}
"""
BEST = "logs/table/a/checkpoints/best.ckpt"
WORDS = ("--config", "table.yaml", "--run_name", "a")


def trained(train: Train, kind: str, loss: str, num_targets: int) -> np.ndarray:
    """Train on rare positives, and return the inputs."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(600, 3)).astype(np.float32)
    targets = (inputs[:, :2] + random.normal(size=(600, 2)) > 1.2).astype(np.int64)
    np.savez("a.npz", inputs=inputs, targets=targets[:, 0] if num_targets == 1 else targets)
    Path("table.yaml").write_text(TABLE.replace("KIND", kind).replace("LOSS", loss))
    assert train("fit", *WORDS, *PLAIN).code == 0
    return inputs


def counted(scores: np.ndarray, hits: np.ndarray, threshold: float) -> list[float]:
    """Return F1, precision and recall, each from its definition."""
    right, found = (hits & (scores > threshold)).sum(), (scores > threshold).sum()
    return [2 * right / (found + hits.sum()), right / max(found, 1), right / hits.sum()]


def test_every_threshold_is_worth_what_it_is_said_to_be() -> None:
    random = np.random.default_rng(0)
    scores = random.random(200).round(2).astype(np.float32)  # with ties
    hits = random.random(200) < scores
    values = _curve(scores, hits)
    assert values.shape == (4, len({*scores.tolist()} - {0.0}) + 1) and values[0, -1] == 0.5
    for threshold, *worth in values.T.tolist():
        assert worth == pytest.approx(counted(scores, hits, threshold))
    assert values[1, _best(values, "f1", "")] == max(counted(scores, hits, level - 1e-3)[0] for level in {*scores})
    for goal, other in (("precision", "recall"), ("recall", "precision")):
        row, column = 1 + MEASURES.index(goal), 1 + MEASURES.index(other)
        best, enough = _best(values, f"{goal}=0.75", ""), values[row] >= 0.75
        assert enough[best] and values[column, best] == values[column, enough].max()


def test_a_goal_that_nothing_reaches() -> None:
    values = _curve(np.array([0.9, 0.8, 0.2], np.float32), np.array([False, True, False]))
    with pytest.raises(UsageError, match=r"precision=0\.9 cannot be reached: the highest precision of x is 0\.5000"):
        _best(values, "precision=0.9", "x")
    nothing = _curve(np.array([0.9, np.nan], np.float32), np.array([False, False]))
    with pytest.raises(UsageError, match=r"--threshold f1 cannot be reached: the highest f1 of x is 0\.0000"):
        _best(nothing, "f1", "x")


def test_boxes_are_matched_by_class_with_the_greatest_score_first() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [50, 50, 60, 60]])
    found = {"boxes": boxes, "labels": torch.tensor([1, 1, 2, 1]), "scores": torch.tensor([0.6, 0.9, 0.8, 0.3])}
    target = {"boxes": boxes[[0, 2, 3]], "labels": torch.tensor([1, 1, 1])}
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "scores": torch.zeros(0)}
    scores, hits = _scores([found, nothing, nothing], [target, nothing, target])
    # the second best box of an object, and one of another class, are wrong; one object was missed, then all three
    assert list(zip(scores.flatten().tolist(), hits.flatten().tolist(), strict=True)) == [
        (pytest.approx(0.9), True), (pytest.approx(0.8), False), (pytest.approx(0.6), False),
        (pytest.approx(0.3), True), (0, True), (0, True), (0, True), (0, True),
    ]  # fmt: skip
    assert _curve(scores[:, 0].numpy(), hits[:, 0].numpy())[1:, -1] == pytest.approx([2 / 9, 1 / 3, 1 / 6])


def test_a_detector_takes_it() -> None:
    module, item = DetectorModule(), {"boxes": torch.zeros(2, 4), "labels": torch.ones(2, dtype=torch.long)}
    item["scores"] = torch.tensor([0.7, 0.4])
    for kept, count in (({}, 1), ({"threshold": 0.3}, 2), ({"threshold": 0.8}, 0), ({}, 1)):
        module.on_load_checkpoint(kept)
        assert len(module.results([item], None)[0].scores) == count
        mistakes = _severities([item], [item], module.threshold)[1]
        assert len(mistakes[0]["boxes"]) == count


def test_a_metric_of_what_was_decided_is_drawn_as_before() -> None:
    metric = LambdaInputTransformer(MulticlassConfusionMatrix(2), lambda logits: (logits[:, 1] > 2).long())
    metric.update(torch.tensor([[0.0, 3], [0, 1]]), torch.tensor([1, 0]))
    with warnings.catch_warnings(action="ignore"):  # Matplotlib's, of tensors
        figure = _plot(metric, metric.compute(), ["no", "yes"])
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["no", "yes"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "0", "0", "1"]
    probabilities = torch.tensor([[0.4, 0.6], [0.6, 0.4]])
    severities, classes = _severities(probabilities.log(), torch.tensor([1, 0]), 0.3)
    assert classes.tolist() == [1, 1] and severities.tolist() == pytest.approx([0, 0.4])


def test_that_of_two_classes_is_used_everywhere(train: Train) -> None:
    inputs = trained(train, "classifier.ClassifierModule", "CrossEntropyLoss", 1)
    result = train("validate", *WORDS, "--threshold", "recall=0.9")
    assert (result.code, result.err) == (0, ""), result.err
    model = load_model(BEST)
    threshold = float(model.threshold)  # type: ignore[arg-type]
    line = next(line for line in result.out.splitlines() if line.startswith("threshold of 1: "))
    assert f"{threshold:.4g} by recall=0.9, F1 0." in line and line.endswith("; 54 validation samples")
    best, half = (float(part.split("recall ")[1].split(";")[0]) for part in line.split("; at 0.5"))
    assert best >= 0.9 > half and threshold < 0.5
    assert Path("logs/table/a/figures/threshold_0.png").is_file()
    events = EventAccumulator("logs/table/a", size_guidance={"images": 0}).Reload()
    assert "threshold/0" in events.Tags()["images"]

    found = model.predict(inputs)
    assert [item.label for item in found] == ["01"[item.probabilities["1"] > threshold] for item in found]
    moved = [item for item in found if item.label != max(item.probabilities, key=item.probabilities.__getitem__)]
    assert moved and all(item.probability == item.probabilities["1"] < 0.5 for item in moved)
    assert [name for name, _ in moved[0].top(2)] == ["1", "0"]  # no class twice
    assert train("test", *WORDS, "--callbacks.predictions.probabilities", "true").code == 0
    with open("logs/table/a/results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["01"[float(row["probability_1"]) > threshold] for row in rows]

    np.savez("b.npz", inputs=-inputs, targets=np.load("a.npz")["targets"])  # so the greatest scores are wrong
    result = train("validate", *WORDS, "--threshold", "precision=0.9", "--data.train", "b.npz")
    assert "error: --threshold precision=0.9 cannot be reached: the highest precision of 1 on " in result.err
    assert result.code == 2 and load_model(BEST).threshold == threshold
    result = train("validate", *WORDS, "--threshold", "f1", "--data.val_fraction", "0")
    assert result.code == 2 and "error: --threshold needs validation samples, and" in result.err
    result = train("validate", *WORDS, "--calibrate", "true")
    assert "the threshold that was kept is discarded" in result.out and load_model(BEST).threshold is None
    assert train("validate", *WORDS, "--calibrate", "true", "--threshold", "recall=0.9").code == 0
    both = load_model(BEST)
    assert both.temperature != 1 and both.threshold is not None


def test_each_label_has_its_own(train: Train) -> None:
    inputs = trained(train, "multilabel.MultilabelModule", "BCEWithLogitsLoss", 2)
    result = train("validate", *WORDS, "--threshold", "recall=0.8")
    assert result.code == 0 and result.out.count("threshold of ") == 2
    model = load_model(BEST)
    limits = dict(zip("01", model.threshold, strict=True))  # type: ignore[arg-type]
    for item in model.predict(inputs):
        assert item.labels == [name for name, value in item.probabilities.items() if value > limits[name]]
    resumed = train("fit", *WORDS, *PLAIN, "--trainer.max_epochs", "3", "--resume", "auto")
    assert resumed.code == 0, resumed.err
    assert load_model("logs/table/a/checkpoints/last.ckpt").threshold is None


def test_a_detection_run_finds_its_own(train: Train) -> None:
    words = ("--config", str(CONFIGS / "detection.yaml"), "--data.num_train", "96", "--data.num_val", "16")
    words += ("--data.num_test", "8", *PLAIN, "--run_name", "a")
    result = train(*words, "--trainer.max_epochs", "6")
    assert (result.code, result.err) == (0, "")
    run = Path("logs/detection/a")
    model = load_model(run / "checkpoints/best.ckpt")
    assert f"threshold of boxes: {model.threshold:.4g} by f1, F1 " in result.out and model.threshold != 0.5
    assert load_model(run / "checkpoints/last.ckpt").threshold == 0.5
    assert (run / "figures/threshold_0.png").is_file()
    events = EventAccumulator(str(run)).Reload()
    assert len(events.Scalars("val/loss")) == 6  # the validation for the threshold logs nothing
    record = json.loads((run / "run.json").read_text())
    assert record["metrics"]["val/loss"] == pytest.approx(events.Scalars("val/loss")[-1].value)

    result = train(*words[:-1], "b", *QUICK, "--model.net.score_thresh", "0.99")
    assert result.code == 0 and "the threshold stays 0.5: f1 cannot be reached: the highest f1 of boxes" in result.out


def test_a_number_of_somebody_elses_module_is_left_alone(train: Train) -> None:
    kinds = "trainworks.tests.strangers"
    Path("own.yaml").write_text(json.dumps({"model": f"{kinds}.HasThreshold", "data": f"{kinds}.OwnData"}))
    result = train("--config", "own.yaml", *QUICK)
    assert (result.code, result.err) == (0, "") and "threshold" not in result.out


def test_wrong_use(train: Train) -> None:
    result = train("validate", "--config", "none.yaml", "--threshold", "precision=90")
    assert result.err == "error: --threshold must be like f1 or precision=0.9 or recall=0.9, got precision=90\n"
    for predictions, targets in ((torch.zeros(4, 3), torch.zeros(4)), (torch.full((4, 3), 1.5), torch.zeros(4, 3))):
        wanted = r"takes logits of two classes, probabilities of labels, or boxes; got predictions of shape \(4, 3\)"
        with pytest.raises(UsageError, match=wanted):
            _scores(predictions, targets)
    words = ("--config", str(CONFIGS / "diabetes.yaml"), "--run_name", "a")
    assert train("fit", *words, *QUICK).code == 0
    result = train("validate", *words, "--threshold", "f1")
    assert result.code == 2
    assert "error: --threshold is for two classes, several labels or boxes; got a RegressorModule, whose" in result.err
