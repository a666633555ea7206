"""Every loss of torch.nn that is called with outputs and targets trains through a configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.nn.modules.loss import _Loss

from trainworks.models import load_model
from trainworks.tests.conftest import Result
from trainworks.tests.reach.problem import Record

pytestmark = pytest.mark.reach

LOSSES = sorted({kind.__name__ for kind in vars(nn).values() if isinstance(kind, type) and issubclass(kind, _Loss)})
OTHERS = {  # these compare more than outputs and targets: a module's own step has to call them
    "CTCLoss": "input_lengths, target_lengths",
    "CosineEmbeddingLoss": "input1, input2, target",
    "GaussianNLLLoss": "input, target, var",
    "MarginRankingLoss": "input1, input2, target",
    "TripletMarginLoss": "anchor, positive, negative",
    "TripletMarginWithDistanceLoss": "anchor, positive, negative",
}
RANDOM = np.random.default_rng(0)
SCORES = RANDOM.normal(size=(48, 3)).astype(np.float32)
SIGNS = np.where(SCORES > 0, 1, -1).astype(np.float32)
FIRST = np.where(np.arange(3) == 0, SCORES.argmax(1)[:, None], -1)  # one class, and the end of the list
TARGETS = {  # the classes of the problem for all others
    **dict.fromkeys(("L1Loss", "MSELoss", "HuberLoss", "SmoothL1Loss"), SCORES),
    **dict.fromkeys(("BCELoss", "BCEWithLogitsLoss", "MultiLabelSoftMarginLoss"), (SCORES > 0).astype(np.float32)),
    **dict.fromkeys(("SoftMarginLoss", "HingeEmbeddingLoss"), SIGNS),
    "PoissonNLLLoss": np.floor(np.exp(SCORES)).astype(np.float32),
    "KLDivLoss": (np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)).astype(np.float32),
    "MultiLabelMarginLoss": FIRST,
}
LAST = {"BCELoss": "Sigmoid", "NLLLoss": "LogSoftmax", "NLLLoss2d": "LogSoftmax", "KLDivLoss": "LogSoftmax"}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "KLDivLoss": {"reduction": "batchmean"},
    "LinearCrossEntropyLoss": {"in_features": 3, "num_classes": 3},
}


@pytest.mark.filterwarnings("ignore:.NLLLoss2d. has been deprecated:FutureWarning")
@pytest.mark.parametrize("name", [name for name in LOSSES if name not in OTHERS])
def test_every_loss_is_lowered(fit: Callable[..., Result], name: str) -> None:
    last = {"class_path": f"torch.nn.{LAST.get(name, 'Identity')}"}
    last |= {"init_args": {"dim": 1}} if LAST.get(name) == "LogSoftmax" else {}
    net = {"class_path": "trainworks.tests.reach.problem.Net", "init_args": {"last": last}}
    loss = {"class_path": f"torch.nn.{name}", "init_args": ARGUMENTS.get(name, {})}
    targets = {"targets": TARGETS[name]} if name in TARGETS else {}
    result = fit({"net": net, "loss": loss, "optimizer": {"init_args": {"lr": 0.3}}}, **targets)
    assert (result.code, result.err) == (0, "")
    assert type(Record.trained["module"].loss).__name__ == name
    assert Record.losses[-1] < 0.95 * Record.losses[0]


@pytest.mark.parametrize("name", OTHERS)
def test_a_loss_that_needs_more_is_refused(fit: Callable[..., Result], name: str) -> None:
    assert name in LOSSES
    result = fit({"loss": f"torch.nn.{name}"})
    assert result.code == 2
    assert result.err.startswith(f"error: model.loss: {name} needs")
    assert OTHERS[name] in result.err


def test_weighted_sum_adds_up(fit: Callable[..., Result]) -> None:
    losses = ["torch.nn.CrossEntropyLoss", {"class_path": "torch.nn.MultiMarginLoss", "init_args": {"p": 2}}]
    alone = []
    for loss in losses:
        fit({"loss": loss})
        alone.append(Record.losses[0])
    both = {
        "class_path": "trainworks.models.losses.WeightedSum",
        "init_args": {"losses": losses, "weights": [2.0, 0.5]},
    }
    fit({"loss": both})
    assert Record.losses[0] == pytest.approx(2 * alone[0] + 0.5 * alone[1])
    result = fit(
        {
            "loss": {
                "class_path": "trainworks.models.losses.WeightedSum",
                "init_args": {"losses": losses, "weights": [1]},
            }
        }
    )
    assert (result.code, result.err) == (2, "error: WeightedSum: 2 losses need as many weights, got [1.0]\n")
    both["init_args"]["losses"] = [losses[0], "torch.nn.TripletMarginLoss"]
    assert "TripletMarginLoss needs anchor" in fit({"loss": both}).err


@pytest.mark.parametrize(("name", "argument"), [("CrossEntropyLoss", "weight"), ("MultiMarginLoss", "weight")])
def test_a_tensor_is_written_as_a_list(fit: Callable[..., Result], name: str, argument: str, tmp_path: Path) -> None:
    loss = {"class_path": f"torch.nn.{name}", "init_args": {argument: [1, 2, 0.5]}}
    keep = ("--callbacks.best.class_path", "lightning.pytorch.callbacks.ModelCheckpoint", "--run_name", "a")
    keep += ("--callbacks.best.dirpath", "checkpoints", "--callbacks.best.filename", "best")
    assert fit({"loss": loss}, *keep).err == ""
    tensor = torch.tensor([1, 2, 0.5])
    assert torch.equal(getattr(Record.trained["module"].loss, argument), tensor)
    (run,) = tmp_path.glob("logs/*/a")
    stored = yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]["loss"]["init_args"]
    assert stored[argument] == [1.0, 2.0, 0.5]
    rebuilt = load_model(run / "checkpoints/best.ckpt").loss
    assert torch.equal(getattr(rebuilt, argument), tensor)
    typed = fit({"loss": f"torch.nn.{name}"}, f"--model.loss.{argument}", "[3, 1, 2]")
    assert typed.err == ""
    assert getattr(Record.trained["module"].loss, argument).tolist() == [3.0, 1.0, 2.0]


def test_label_smoothing_raises_the_least_loss(fit: Callable[..., Result]) -> None:
    smooth = {"class_path": "torch.nn.CrossEntropyLoss", "init_args": {"label_smoothing": 0.5}}
    fit({"loss": smooth, "optimizer": {"init_args": {"lr": 0.0}}})
    module = Record.trained["module"]
    inputs, targets = (
        torch.from_numpy(np.load("train.npz")["inputs"]),
        torch.from_numpy(np.load("train.npz")["targets"]),
    )
    logs = module(inputs).log_softmax(1).detach()
    by_hand = -(0.5 * logs.gather(1, targets[:, None]).mean() + 0.5 * logs.mean())
    assert Record.losses[0] == pytest.approx(float(by_hand), rel=1e-5)
