import csv
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import segmentation

from src.models.segmenter import SegmenterModule
from trainworks import UsageError
from trainworks.models import load_model
from trainworks.testing import ROOT, Train

CONFIG = str(ROOT / "configs/segmentation.yaml")
RUN = f"logs/{Path(CONFIG).stem}/a"
SMALL = ("--data.num_train", "96", "--data.num_val", "32", "--data.num_test", "32", "--model.net.widths", "[4, 8]")


def make_module(net: nn.Module) -> SegmenterModule:
    return SegmenterModule(net, nn.CrossEntropyLoss(ignore_index=255), partial(torch.optim.SGD, lr=0.1))


def make_batch(num_classes: int, size: int = 8) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.rand(2, 3, size, size), torch.randint(num_classes, (2, size, size), dtype=torch.uint8)


def test_ignored_pixels_count_for_nothing() -> None:
    module, (images, masks) = make_module(nn.Conv2d(3, 4, 1)), make_batch(4)
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
    module, (images, masks) = make_module(nn.Conv2d(3, 4, 1)), make_batch(4)
    with pytest.raises(
        ValueError, match=r"masks must hold a class for each pixel, .* got \(2, 3, 8, 8\); make colours"
    ):
        module.step((images, masks[:, None].expand(2, 3, 8, 8)))


class TwoHeads(nn.Module):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"out": images, "aux": 3 * images}


def test_classes_of_images_are_no_masks() -> None:
    module, (images, _) = make_module(nn.Conv2d(3, 4, 1)), make_batch(4)
    with pytest.raises(UsageError, match="classes of whole images are for a classifier"):
        module.step((images, torch.ones(len(images)).long()))


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
    results = module.eval().predict_step(batch, 0)
    assert [sum(result.shares.values()) for result in results] == pytest.approx([1, 1])
    uneven = module.predict_step(([batch[0][0], torch.rand(3, 64, 32)],), 0)
    assert [tuple(result.mask.shape) for result in uneven] == [(32, 32), (64, 32)]


@pytest.mark.long
def test_it_learns_where_the_digits_are(train: Train) -> None:
    words = ("--data.num_train", "192", "--data.batch_size", "16", "--trainer.max_epochs", "3", "--run_name", "a")
    result = train("--config", CONFIG, *SMALL, *words)
    assert (result.code, result.err) == (0, "")
    losses = [float(value) for value in re.findall(r"val/loss (\S+)", result.out)]
    assert losses[-1] < 0.9 * losses[0]
    assert len(re.findall(r"(?:val|test)/miou +\d", result.out)) == 4
    module = load_model(f"{RUN}/checkpoints/best.ckpt")
    assert module.class_names == ["background", *map(str, range(10))]
    answer = module.predict(np.zeros((64, 64, 3), np.uint8))
    assert (answer.mask.dtype, tuple(answer.mask.shape)) == (torch.uint8, (64, 64))
    assert sum(answer.shares.values()) == pytest.approx(1) and "background" in answer.shares
    assert train("predict", "--config", CONFIG).code == 0
    rows = list(csv.DictReader(Path(f"{RUN}/predictions.csv").read_text().splitlines()))
    assert len(rows) == 32
    assert list(rows[0])[:5] == ["input", "iou", "mask", "confidence", "share_background"]
    assert sum(float(value) for name, value in rows[0].items() if name.startswith("share_")) == pytest.approx(1)
