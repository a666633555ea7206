from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from src.models.classifier import ClassifierModule
from trainworks import UsageError
from trainworks.models import load_model
from trainworks.testing import QUICK, Train


def make_module(loss: nn.Module) -> ClassifierModule:
    return ClassifierModule(nn.Identity(), loss, partial(torch.optim.SGD, lr=0.1))


def test_soft_targets_reach_the_loss_and_their_greatest_share_the_metrics() -> None:
    logits = torch.randn(4, 3)
    soft = torch.tensor([[0.7, 0.3, 0], [0, 0.1, 0.9], [0, 1, 0], [0.4, 0.6, 0]])
    loss, outputs, classes = make_module(nn.CrossEntropyLoss()).step((logits, soft))
    assert loss == pytest.approx(float(-(soft * logits.log_softmax(dim=1)).sum(dim=1).mean()))
    assert outputs is logits
    assert classes.tolist() == [0, 2, 1, 1]


NO_CLASSES = {  # targets, and what the error says
    "values": (torch.rand(4), r"float32 \(4,\); values are for configs/diabetes.yaml"),
    "masks": (torch.zeros(4, 8, 8).long(), r"int64 \(4, 8, 8\); masks are for configs/segmentation.yaml"),
    "labels": (torch.ones(4, 3), r"float32 \(4, 3\); several labels a sample are for configs/multilabel.yaml"),
}


@pytest.mark.parametrize("kind", NO_CLASSES)
def test_targets_that_are_no_classes(kind: str) -> None:
    targets, said = NO_CLASSES[kind]
    with pytest.raises(UsageError, match=f"ClassifierModule needs one class a sample, .*; got targets of {said}"):
        make_module(nn.CrossEntropyLoss()).step((torch.randn(4, 3), targets))


CONFIG = """
model:
  class_path: src.models.classifier.ClassifierModule
  init_args:
    net: {class_path: torch.nn.Linear, init_args: {in_features: 4, out_features: "${data.init_args.num_classes}"}}
    loss: torch.nn.CrossEntropyLoss
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1}}
data: {class_path: trainworks.datamodules.ArrayDataModule, init_args: {train: a.npz}}
"""


def test_it_answers_with_calibrated_probabilities(train: Train, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", inputs=np.random.default_rng(0).random((400, 4)), targets=np.arange(400) % 10)
    (tmp_path / "a.yaml").write_text(CONFIG)
    words = ("--config", "a.yaml", "--run_name", "a")
    assert train("fit", *words, *QUICK).code == 0
    assert train("validate", *words, "--calibrate", "true").code == 0
    model = load_model("logs/a/a/checkpoints/best.ckpt")
    inputs = torch.rand(3, 4)
    with torch.inference_mode():
        expected = torch.softmax(model.net(inputs) / model.temperature, dim=1)  # type: ignore[operator]
        assert model.temperature != 1 and torch.equal(model.outputs(inputs), expected)  # type: ignore[operator]
    answer = model.predict(inputs.numpy())[0]
    assert list(answer.probabilities) == [str(digit) for digit in range(10)]
    assert (answer.label, answer.probability) == max(answer.probabilities.items(), key=lambda item: item[1])


def test_the_threshold_of_two_classes_decides_results_and_figures() -> None:
    module, logits = make_module(nn.CrossEntropyLoss()), torch.tensor([[0.4, 0.6], [0.7, 0.3], [0.9, 0.1]]).log()
    module.on_load_checkpoint({"threshold": 0.2})
    assert [result.label for result in module.results(logits, ["no", "yes"])] == ["yes", "yes", "no"]
    assert module.results(logits, None)[1].probability == pytest.approx(0.3)
    metrics = module.figure_metrics(2)
    for name in ("confusion_matrix", "accuracy_by_class"):
        metrics[name].update(logits, torch.tensor([1, 1, 0]))
    assert metrics["confusion_matrix"].compute().tolist() == [[1, 0], [0, 1]]
    assert metrics["accuracy_by_class"].compute().tolist() == [1, 1]
    module.on_load_checkpoint({})
    assert [result.label for result in module.results(logits, None)] == ["1", "0", "0"]
