import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from src.models.multilabel import MultilabelModule
from trainworks import UsageError
from trainworks.models import load_model
from trainworks.testing import ROOT, Train

CONFIG = str(ROOT / "configs/multilabel.yaml")
RUN = f"logs/{Path(CONFIG).stem}/a"
LOGITS = torch.tensor([[2.0, -2.0, 0.5], [-1.0, 3.0, -0.5]])
TARGETS = torch.tensor([[1, 0, 0], [0, 1, 1]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8])
def test_step_and_prediction(dtype: torch.dtype) -> None:
    module = MultilabelModule(nn.Identity(), nn.BCEWithLogitsLoss(), torch.optim.SGD)
    loss, probabilities, targets = module.step((LOGITS, TARGETS.to(dtype)))
    expected = -torch.where(TARGETS == 1, probabilities, 1 - probabilities).log().mean()
    assert loss.item() == pytest.approx(expected.item())
    assert torch.equal(probabilities, torch.sigmoid(LOGITS))
    assert torch.equal(targets, TARGETS)
    results = module.predict_step((LOGITS, TARGETS), 0)
    assert [result.labels for result in results] == [["0", "2"], ["1"]]
    assert module.predict_step(LOGITS, 0) == results


def test_soft_targets_reach_the_loss_as_they_are() -> None:
    module = MultilabelModule(nn.Identity(), nn.BCEWithLogitsLoss(), torch.optim.SGD)
    soft = torch.tensor([[0.7, 0.0, 0.2], [0.3, 1.0, 0.6]])
    loss, _, targets = module.step((LOGITS, soft))
    assert loss.item() == pytest.approx(nn.functional.binary_cross_entropy_with_logits(LOGITS, soft).item())
    assert targets.tolist() == [[1, 0, 0], [0, 1, 1]]


def test_one_class_a_sample_is_for_a_classifier() -> None:
    module = MultilabelModule(nn.Identity(), nn.BCEWithLogitsLoss())
    with pytest.raises(
        UsageError, match=r"targets of shape \(B, K\), got \(4,\); one class a sample is for Classifier"
    ):
        module.step((torch.zeros(4, 3), torch.ones(4)))


def test_figures_label_by_label() -> None:
    module = MultilabelModule(nn.Identity(), nn.BCEWithLogitsLoss(), torch.optim.SGD)
    metrics = module.figure_metrics(3)
    _, probabilities, targets = module.step((LOGITS, TARGETS))
    for metric in metrics.values():
        metric.update(probabilities, targets)
    assert metrics["confusion_matrix"].compute()[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert module.figure_metrics(None) == {}
    module.threshold = [0.9, 0.9, 0.3]
    metric = module.figure_metrics(3)["confusion_matrix"]
    metric.update(probabilities, targets)
    assert metric.compute()[:, 1, 1].tolist() == [0, 1, 1]
    assert [result.labels for result in module.results(probabilities, None)] == [["2"], ["1", "2"]]


@pytest.mark.long
def test_pairs_of_digits(train: Train) -> None:
    words = ("--trainer.max_epochs", "4", "--data.pairs_per_digit", "2", "--run_name", "a")
    assert train("--config", CONFIG, *words).code == 0
    metrics = json.loads(Path(f"{RUN}/run.json").read_text())["metrics"]
    assert metrics["test/f1"] > 0.75
    assert train("predict", "--config", CONFIG, "--run_name", "a").code == 0
    rows = list(csv.DictReader(Path(f"{RUN}/predictions.csv").read_text().splitlines()))
    assert len(rows) == 718
    assert np.mean([row["labels"] == row["target"] for row in rows]) == pytest.approx(metrics["test/exact_match"])
    answer = load_model(f"{RUN}/checkpoints/best.ckpt").predict(np.zeros((8, 16), np.uint8))
    assert list(answer.probabilities) == [str(digit) for digit in range(10)]
    assert answer.labels == [name for name, value in answer.probabilities.items() if value > 0.5]


LABELS = """
model:
  class_path: src.models.multilabel.MultilabelModule
  init_args:
    net: {class_path: torch.nn.Linear, init_args: {in_features: "${data.init_args.num_features}", out_features: &num
      "${data.init_args.num_targets}"}}
    loss: torch.nn.BCEWithLogitsLoss
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01}}
    metrics: {f1: {class_path: torchmetrics.classification.MultilabelF1Score, init_args: {num_labels: *num}}}
data:
  class_path: trainworks.datamodules.ArrayDataModule
  init_args: {train: table.csv, targets: [warm, wet], batch_size: 20}
"""


def test_labels_in_the_columns_of_a_table(train: Train, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(300, 4))
    labels = np.stack([values[:, 0] > 0, values[:, 1] + values[:, 2] > 0], axis=1).astype(int)
    rows = [",".join(map(str, [*row, *label])) for row, label in zip(values, labels, strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,c,d,warm,wet", *rows]))
    (tmp_path / "labels.yaml").write_text(LABELS)
    result = train("--config", "labels.yaml", "--trainer.max_epochs", "15", "--run_name", "a")
    assert result.code == 0, result.err
    assert json.loads(Path("logs/labels/a/run.json").read_text())["metrics"]["test/f1"] > 0.85
