import csv
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
from torchvision.models import segmentation

from src.models.networks.unet import UNet
from src.models.segmenter import SegmenterModule
from trainworks.models import load_model
from trainworks.testing import ROOT, Train
from trainworks.tests.test_exact_resume import STEPS, interrupted  # noqa: F401  (a fixture)

CONFIG = str(ROOT / "configs" / "segmentation.yaml")
SMALL = ("--data.num_train", "96", "--data.num_val", "32", "--data.num_test", "32", "--model.net.widths", "[4, 8]")


def make_module(net: nn.Module) -> SegmenterModule:
    return SegmenterModule(net, nn.CrossEntropyLoss(ignore_index=255), partial(torch.optim.SGD, lr=0.1))


def make_batch(num_classes: int, size: int = 8) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.rand(2, 3, size, size), torch.randint(num_classes, (2, size, size), dtype=torch.uint8)


def test_ignored_pixels_count_for_nothing() -> None:
    module, (images, masks) = make_module(UNet(3, 4, [4, 4]).eval()), make_batch(4)
    masks[:, :3] = 255
    loss, logits, targets = module.step((images, masks[:, None]))  # with a channel, as torchvision's datasets have it
    assert (logits.shape, targets.shape, targets.dtype) == ((2, 4, 8, 8), (2, 8, 8), torch.int64)
    expected = nn.functional.cross_entropy(logits[:, :, 3:], targets[:, 3:])
    assert loss.item() == pytest.approx(expected.item())
    for metric in module.figure_metrics(4).values():
        metric.update(logits, targets)
        assert metric.confmat.sum() == 2 * 5 * 8  # type: ignore[union-attr, operator]
    assert module.figure_metrics(None) == {}


def test_colours_are_no_classes() -> None:
    module, (images, masks) = make_module(UNet(3, 4, [4])), make_batch(4)
    with pytest.raises(
        ValueError, match=r"masks must hold a class for each pixel, .* got \(2, 3, 8, 8\); make colours"
    ):
        module.step((images, masks[:, None].expand(2, 3, 8, 8)))


class TwoHeads(nn.Module):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"out": images, "aux": 3 * images}


def test_an_auxiliary_head_is_learned_beside() -> None:
    module, (images, masks) = make_module(TwoHeads()), make_batch(3)
    loss, logits, targets = module.step((images, masks))
    parts = [nn.functional.cross_entropy(factor * images, targets) for factor in (1, 3)]
    assert loss.item() == pytest.approx((parts[0] + 0.5 * parts[1]).item())
    assert logits is images
    assert module(images) is images


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
def test_networks_of_torchvision_learn(name: str) -> None:
    extra = {} if name.startswith("lraspp") else {"aux_loss": True}
    net = getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=4, **extra)
    module, batch = make_module(net), make_batch(4, 32)
    loss, logits, _ = module.step(batch)
    loss.backward()
    assert logits.shape == (2, 4, 32, 32)
    assert all(parameter.grad is not None for parameter in net.parameters())
    prediction = module.eval().predict_step(batch, 0)
    assert prediction["share"].sum(dim=1).tolist() == pytest.approx([1, 1])
    assert prediction["confidence"].shape == (2,)


@pytest.mark.long
def test_it_learns_where_the_digits_are(train: Train, tmp_path: Path) -> None:
    words = ("--data.num_train", "192", "--data.batch_size", "16", "--trainer.max_epochs", "3", "--run_name", "a")
    result = train("--config", CONFIG, *SMALL, *words)
    assert (result.code, result.err) == (0, "")
    losses = [float(value) for value in re.findall(r"val/loss (\S+)", result.out)]
    assert losses[-1] < 0.9 * losses[0]
    assert len(re.findall(r"(?:val|test)/miou +\d", result.out)) == 4
    module = load_model(tmp_path / "logs/segmentation/a/checkpoints/best.ckpt")
    assert module.class_names == ["background", *map(str, range(10))]
    assert train("predict", "--config", CONFIG).code == 0
    with (tmp_path / "logs/segmentation/a/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 32
    assert list(rows[0])[:3] == ["index", "share_0", "share_1"]
    assert sum(float(rows[0][f"share_{k}"]) for k in range(11)) == pytest.approx(1)


@pytest.mark.kills
def test_interrupted_and_continued(interrupted: Any) -> None:  # noqa: F811
    words = (*SMALL, "--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "1", "--model.train_metrics", "true")
    shown = interrupted(CONFIG, *words, *STEPS, bombs=("batch:4",))
    assert "continues from" in shown[-1]


def write_voc(root: Path) -> None:
    """Photographs of any size with a bright disc, and masks that say where it is, in the form of PASCAL VOC."""
    base = root / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (base / folder).mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(24):
        height, width = random.integers(36, 60, 2)
        y, x = np.ogrid[:height, :width]
        distance = np.hypot(y - random.integers(10, 26), x - random.integers(10, 26))
        mask = np.where(distance < 10, 1, np.where(distance < 12, 255, 0)).astype(np.uint8)  # 255: the border
        pixels = random.integers(0, 100, (height, width, 3)) + 150 * (mask[..., None] == 1)
        Image.fromarray(pixels.astype(np.uint8)).save(base / "JPEGImages" / f"{index}.jpg")
        Image.fromarray(mask).save(base / "SegmentationClass" / f"{index}.png")
    for name, names in (("train", range(16)), ("val", range(16, 24))):
        (base / "ImageSets/Segmentation" / f"{name}.txt").write_text("\n".join(map(str, names)))


@pytest.mark.long
@pytest.mark.filterwarnings(  # torchvision leaves the files of masks to the garbage collector
    "ignore:unclosed file:ResourceWarning", "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)
def test_a_folder_of_images_with_masks_through_a_config(train: Train, tmp_path: Path) -> None:
    """Random transforms move the masks with the images, or it could not be learned."""
    write_voc(tmp_path / "voc")
    voc = "torchvision.datasets.VOCSegmentation"
    sets = {name: {"class_path": voc, "init_args": {"image_set": name}} for name in ("train", "val")}
    shift = {"class_path": "trainworks.datamodules.transforms.RandomShift", "init_args": {"pixels": 8}}
    crop = {"class_path": "torchvision.transforms.v2.RandomResizedCrop", "init_args": {"size": 40, "scale": [0.6, 1]}}
    scale = {"class_path": "torchvision.transforms.v2.ToDtype", "init_args": {"dtype": "torch.float32", "scale": True}}
    arguments = {
        "root": "voc", "num_classes": 2, "image_size": 32, "batch_size": 8, "num_workers": 0,
        "train_dataset": sets["train"], "val_dataset": sets["val"], "test_dataset": sets["val"],
        "sample_transform": [crop], "train_transform": [shift, scale], "eval_transform": [scale],
    }  # fmt: skip
    data = {"class_path": "trainworks.datamodules.VisionDataModule", "init_args": arguments}
    (tmp_path / "voc.yaml").write_text(yaml.safe_dump({"data": data}))
    words = ("--model.net.widths", "[8, 16]", "--model.optimizer.lr", "0.02", "--trainer.max_epochs", "12")
    result = train("--config", CONFIG, "--config", "voc.yaml", *words, "--trainer.log_every_n_steps", "1")
    assert (result.code, result.err) == (0, "")
    assert float(re.findall(r"test/miou +(\S+)", result.out)[0]) > 0.8
