import csv
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.detection import MeanAveragePrecision
from torchvision.models import detection

from src.models.detector import DetectorModule
from src.models.losses.sum_of_terms import SumOfTerms
from trainworks import UsageError
from trainworks.models import load_model
from trainworks.testing import ROOT, Train

CONFIG = str(ROOT / "configs/detection.yaml")
RUN = f"logs/{Path(CONFIG).stem}/a"
SMALL = ("--data.num_train", "64", "--data.num_val", "32", "--data.num_test", "32")
TINY = ("--model.net.backbone.widths", "[8, 16, 16]", "--model.net.backbone.out_channels", "32")
BOX = [[4.0, 6.0, 30.0, 40.0]]


def make_module(net: nn.Module, **arguments: Any) -> DetectorModule:
    metrics = {"map": MeanAveragePrecision()}
    return DetectorModule(net, SumOfTerms(), partial(torch.optim.SGD, lr=0.01), metrics=metrics, **arguments)


def make_batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    torch.manual_seed(0)
    full = {"boxes": torch.tensor(BOX), "labels": torch.tensor([2])}
    return [torch.rand(3, 64, 64), torch.rand(3, 48, 64)], [full, {"image_id": 7}]  # type: ignore[dict-item]


NAMES = "fasterrcnn_mobilenet_v3_large_320_fpn retinanet_resnet50_fpn fcos_resnet50_fpn ssdlite320_mobilenet_v3_large"


@pytest.mark.parametrize("name", NAMES.split())
def test_detectors_of_torchvision_give_loss_and_detections_alike(name: str) -> None:
    """In training and in validation, and nothing but the training step changes the network."""
    size = {} if name.startswith("ssd") else {"min_size": 64, "max_size": 64}
    net = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=4, **size)
    module, batch = make_module(net), make_batch()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    module.eval()
    torch.manual_seed(0)
    loss, found, targets = module.step(batch)
    assert not any(layer.training for layer in net.modules())
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert loss.isfinite() and not loss.requires_grad
    assert [set(item) >= {"boxes", "scores", "labels"} for item in found] == [True, True]
    assert targets[1]["boxes"].shape == (0, 4)  # CocoDetection gives none where there is nothing
    module.train()
    loss, found, _ = module.step(batch)
    loss.backward()
    assert len(found) == 2
    assert not found[0]["boxes"].requires_grad
    assert all(layer.training for layer in net.modules())
    assert any(parameter.grad.abs().sum() > 0 for parameter in net.parameters() if parameter.grad is not None)
    results = module.eval().predict_step(batch, 0)
    assert [result.boxes.shape == (len(result.labels), 4) for result in results] == [True, True]


FOUND = [
    {"boxes": torch.tensor(BOX), "scores": torch.tensor([0.9]), "labels": torch.tensor([2])},
    {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)},
]


class Known(nn.Module):
    """Finds that, and has batch norm and dropout that would leave traces."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = list[tuple[bool, bool]]()
        self.layers = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))

    def forward(self, images: list[Tensor], targets: Any = None) -> Any:
        self.calls.append((self.training, self.layers[0].training))
        term = self.layers(torch.stack(images)).square().mean()
        return {"term": term, "other": 2 * term} if self.training else FOUND


@pytest.mark.parametrize("train_metrics", [True, False])
def test_the_second_pass_leaves_no_trace(train_metrics: bool) -> None:
    module, (_, targets) = make_module(Known(), train_metrics=train_metrics), make_batch()
    batch = [torch.rand(3, 8, 8), torch.rand(3, 8, 8)], targets
    _, found, _ = module.step(batch)
    assert module.net.calls == [(True, True), (False, False)][: 1 + train_metrics]
    assert len(found) == 2 * train_metrics
    assert module.net.layers[0].num_batches_tracked == 1  # type: ignore[index]
    module.net.layers[0].eval()  # frozen, as for fine-tuning  # type: ignore[index]
    module.step(batch)
    assert not module.net.layers[0].training  # type: ignore[index]
    module.eval()
    module.net.calls.clear()
    first, second = module.step(batch)[0], module.step(batch)[0]
    assert module.net.calls == [(False, False), (True, False)] * 2
    assert float(first) == float(second)
    assert module.net.layers[0].num_batches_tracked == 1  # type: ignore[index]


@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*does not have many workers")
def test_what_is_logged_of_the_precision() -> None:
    module, (_, targets) = make_module(Known(), train_metrics=False), make_batch()
    batch = [torch.rand(3, 8, 8), torch.rand(3, 8, 8)], targets
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    shifted = [{"boxes": torch.tensor([[50.0, 50, 60, 60]]), "labels": torch.tensor([2])}, nothing]
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    loaders = [DataLoader([item], batch_size=None) for item in (batch, (batch[0], shifted))]  # type: ignore[arg-type]
    logged = trainer.validate(module, loaders, verbose=False)[0]
    results = {name: float(value) for name, value in logged.items() if not name.endswith("loss")}
    right = {"val/map": 1, "val/map_50": 1, "val/map_75": 1}
    assert results == right | {"val/1/map": 0, "val/1/map_50": 0, "val/1/map_75": 0}
    assert set(module.metric_names("val")) == set(logged)
    module = make_module(Known(), train_metrics=False)
    assert module.metric_names("val") == ["val/loss", "val/map", "val/map_50", "val/map_75"]
    assert module.metric_names("train") == ["train/loss"]


def test_masks_are_no_boxes() -> None:
    with pytest.raises(UsageError, match=r"for each image, got a Tensor; masks are for configs/segmentation.yaml"):
        make_module(Known()).step(([torch.rand(3, 8, 8)], torch.zeros(1, 8, 8)))  # type: ignore[arg-type]


def test_detections_of_each_image_are_a_result() -> None:
    one, none = make_module(Known()).eval().predict_step(([torch.rand(3, 8, 8)] * 2,), 0)
    assert (one.labels, one.scores, one.boxes.tolist()) == (["2"], pytest.approx([0.9]), BOX)
    assert (none.labels, none.scores, none.boxes.tolist()) == ([], [], [])


@pytest.mark.long
def test_it_learns_to_find_digits(train: Train) -> None:
    words = ("--data.num_train", "256", "--data.max_digits", "1", "--data.batch_size", "16", "--run_name", "a")
    result = train("--config", CONFIG, *SMALL, *TINY, *words, "--trainer.max_epochs", "3")
    assert (result.code, result.err) == (0, "")
    losses = [float(value) for value in re.findall(r"val/loss (\S+)", result.out)]
    assert losses[-1] < 0.9 * losses[0]
    assert len(re.findall(r"val/map_75 \d", result.out)) == 3
    assert "val/map_large" not in result.out and "classes" not in result.out.split("\n", 2)[2]
    module: Any = load_model(f"{RUN}/checkpoints/best.ckpt")
    assert module.class_names == ["background", *map(str, range(10))]
    assert set(module.net([torch.rand(3, 64, 64)])[0]) == {"boxes", "scores", "labels"}
    assert train("predict", "--config", CONFIG).code == 0
    rows = list(csv.DictReader(Path(f"{RUN}/predictions.csv").read_text().splitlines()))
    assert len(rows) == 32
    assert list(rows[0]) == ["input", "target", "f1", "count", "boxes", "labels", "scores"]
    found = [{"boxes": torch.tensor(BOX * 2), "labels": torch.tensor([3, 1]), "scores": torch.tensor([0.9, 0.2])}]
    module.net.forward = lambda images: found * len(images)
    (answer,) = module.predict([np.zeros((50, 70, 3), np.uint8)])  # of any size
    assert (answer.boxes.tolist(), answer.labels, answer.scores) == (BOX, ["2"], [pytest.approx(0.9)])


def test_a_misspelt_weight_of_a_term(train: Train) -> None:
    result = train("--config", CONFIG, *SMALL, "--model.loss.weights", "{bbox_ctrnes: 2.0}")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "did you mean bbox_ctrness?" in result.err
