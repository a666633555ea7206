import csv
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.detection import MeanAveragePrecision
from torchvision.models import detection

from src.models.detector import DetectorModule
from trainworks.models import load_model
from trainworks.models.losses import SumOfTerms
from trainworks.testing import ROOT, Train
from trainworks.tests.models.test_base import make_trainer
from trainworks.tests.test_exact_resume import STEPS, interrupted  # noqa: F401  (a fixture)

CONFIG = str(ROOT / "configs" / "detection.yaml")
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


SIZE = {"min_size": 64, "max_size": 64}
DETECTORS: dict[str, dict[str, Any]] = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": SIZE,
    "retinanet_resnet50_fpn": SIZE,
    "fcos_resnet50_fpn": SIZE,
    "ssdlite320_mobilenet_v3_large": {},
}


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_of_torchvision_give_loss_and_detections_alike(name: str) -> None:
    """In training and in validation, and nothing but the training step changes the network."""
    net = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=4, **DETECTORS[name])
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
    columns = module.eval().predict_step(batch, 0)
    assert {key: tuple(value.shape) for key, value in columns.items()} == {
        "count": (2,), "prediction": (2,), "confidence": (2,), "box": (2, 4)
    }  # fmt: skip


class Known(nn.Module):
    """Finds what it is told to, and has batch norm and dropout that would leave traces."""

    def __init__(self, found: list[dict[str, Tensor]]) -> None:
        super().__init__()
        self.found, self.calls = found, list[tuple[bool, bool]]()
        self.layers = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))

    def forward(self, images: list[Tensor], targets: Any = None) -> Any:
        self.calls.append((self.training, self.layers[0].training))
        term = self.layers(torch.stack(images)).square().mean()
        return {"term": term, "other": 2 * term} if self.training else self.found


def make_known() -> Known:
    right = {"boxes": torch.tensor(BOX), "scores": torch.tensor([0.9]), "labels": torch.tensor([2])}
    nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}
    return Known([right, nothing])


@pytest.mark.parametrize("train_metrics", [True, False])
def test_the_second_pass_leaves_no_trace(train_metrics: bool) -> None:
    module, (_, targets) = make_module(make_known(), train_metrics=train_metrics), make_batch()
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
    module, (_, targets) = make_module(make_known(), train_metrics=False), make_batch()
    batch = [torch.rand(3, 8, 8), torch.rand(3, 8, 8)], targets
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    shifted = [{"boxes": torch.tensor([[50.0, 50, 60, 60]]), "labels": torch.tensor([2])}, nothing]
    trainer = make_trainer()
    loaders = [DataLoader([item], batch_size=None) for item in (batch, (batch[0], shifted))]  # type: ignore[arg-type]
    logged = trainer.validate(module, loaders, verbose=False)[0]
    results = {name: float(value) for name, value in logged.items() if not name.endswith("loss")}
    right = {"val/map": 1, "val/map_50": 1, "val/map_75": 1}
    assert results == right | {"val/1/map": 0, "val/1/map_50": 0, "val/1/map_75": 0}
    assert set(module.metric_names("val")) == set(logged)
    module = make_module(make_known(), train_metrics=False)
    assert module.metric_names("val") == ["val/loss", "val/map", "val/map_50", "val/map_75"]
    assert module.metric_names("train") == ["train/loss"]


def test_the_surest_detection_is_a_row() -> None:
    columns = make_module(make_known()).eval().predict_step([torch.rand(3, 8, 8)] * 2, 0)
    assert columns["count"].tolist() == [1, 0]
    assert columns["prediction"].tolist() == [2, 0]
    assert columns["confidence"].tolist() == pytest.approx([0.9, 0])
    assert columns["box"].tolist() == [BOX[0], [0, 0, 0, 0]]


@pytest.mark.long
def test_it_learns_to_find_digits(train: Train, tmp_path: Path) -> None:
    words = ("--data.num_train", "256", "--data.max_digits", "1", "--data.batch_size", "16", "--run_name", "a")
    result = train("--config", CONFIG, *SMALL, *TINY, *words, "--trainer.max_epochs", "3")
    assert (result.code, result.err) == (0, "")
    losses = [float(value) for value in re.findall(r"val/loss (\S+)", result.out)]
    assert losses[-1] < 0.9 * losses[0]
    assert len(re.findall(r"val/map_75 \d", result.out)) == 3
    assert "val/map_large" not in result.out and "classes" not in result.out.split("\n", 2)[2]
    module: Any = load_model(tmp_path / "logs/detection/a/checkpoints/best.ckpt")
    assert module.class_names == ["background", *map(str, range(10))]
    assert set(module.net([torch.rand(3, 64, 64)])[0]) == {"boxes", "scores", "labels"}
    assert train("predict", "--config", CONFIG).code == 0
    with (tmp_path / "logs/detection/a/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 32
    assert list(rows[0]) == ["index", "count", "prediction", "confidence", *(f"box_{k}" for k in range(4)), "class"]


@pytest.mark.kills
def test_interrupted_and_continued(interrupted: Any) -> None:  # noqa: F811
    """Also the detections of the training batches before the interruption, of which a metric is computed."""
    words = (*SMALL, *TINY, "--data.batch_size", "16", "--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "1")
    shown = interrupted(CONFIG, *words, "--model.train_metrics", "true", *STEPS, bombs=("batch:6",))
    assert "continues from" in shown[-1]


def test_a_misspelt_weight_of_a_term(train: Train) -> None:
    result = train("--config", CONFIG, *SMALL, "--model.loss.weights", "{bbox_ctrnes: 2.0}")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "did you mean bbox_ctrness?" in result.err


def write_coco(root: Path) -> None:
    """Photographs of any size with bright rectangles, some with none, and where these are, in the form of COCO."""
    root.mkdir()
    random = np.random.default_rng(0)
    images, boxes = [], []
    for index in range(12):
        height, width = (int(side) for side in random.integers(40, 64, 2))
        pixels = random.integers(0, 100, (height, width, 3), dtype=np.uint8)
        if index % 4:
            x, y = (int(corner) for corner in random.integers(0, 20, 2))
            pixels[y : y + 16, x : x + 12] = 255
            box = {"bbox": [x, y, 12, 16], "category_id": 3, "area": 192, "iscrowd": 0}
            boxes.append({"id": index + 1, "image_id": index, **box})
        Image.fromarray(pixels).save(root / f"{index}.png")
        images.append({"id": index, "file_name": f"{index}.png", "height": height, "width": width})
    categories = [{"id": 3, "name": "thing"}]
    (root / "boxes.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))


@pytest.mark.long
def test_a_folder_of_images_with_boxes_through_a_config(train: Train, tmp_path: Path) -> None:
    write_coco(tmp_path / "coco")
    coco = {"class_path": "torchvision.datasets.CocoDetection", "init_args": {"annFile": "coco/boxes.json"}}
    flip = {"class_path": "torchvision.transforms.v2.RandomHorizontalFlip"}
    scale = {"class_path": "torchvision.transforms.v2.ToDtype", "init_args": {"dtype": "torch.float32", "scale": True}}
    each = {"class_path": "trainworks.datamodules.transforms.PerSample", "init_args": {"transforms": [flip]}}
    arguments = {
        "root": "coco", "num_classes": 4, "batch_size": 4, "num_workers": 0, "collate": {
            "class_path": "trainworks.datamodules.transforms.KeepLists"
        },
        "train_dataset": coco, "val_dataset": coco, "test_dataset": coco,
        "train_transform": [each, scale], "eval_transform": [scale],
    }  # fmt: skip
    data = {"class_path": "trainworks.datamodules.VisionDataModule", "init_args": arguments}
    net = {"init_args": {"min_size": 64, "max_size": 64}}
    (tmp_path / "coco.yaml").write_text(yaml.safe_dump({"data": data, "model": {"init_args": {"net": net}}}))
    words = (*TINY, "--trainer.max_epochs", "12", "--trainer.log_every_n_steps", "1", "--model.optimizer.lr", "0.01")
    result = train("--config", CONFIG, "--config", "coco.yaml", *words)
    assert (result.code, result.err) == (0, "")
    assert float(re.findall(r"test/map_50 +(\S+)", result.out)[0]) > 0.5
