"""Detections that torch.export can follow: those of torchvision's networks."""

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator

from trainworks.errors import UsageError
from trainworks.models.dense_detections import _not_suppressed, dense_detections
from trainworks.tests.examples.detector import SmallPyramid

SIZES = {"min_size": 64, "max_size": 80, "topk_candidates": 10**6}


def make(kind: str) -> Any:
    """Return a network whose boxes have scores of all sizes and overlap each other."""
    torch.manual_seed(0)
    anchors = AnchorGenerator(((16,),), ((1.0,),))
    if kind == "FCOS":
        net: Any = detection.FCOS(SmallPyramid(3, [8, 32]), 4, anchor_generator=anchors, **SIZES)
    elif kind == "RetinaNet":
        net = detection.RetinaNet(SmallPyramid(3, [8, 32]), 4, anchor_generator=anchors, **SIZES)
    else:
        net = detection.ssdlite320_mobilenet_v3_large(
            weights=None, num_classes=4, weights_backbone=None, topk_candidates=10**6
        )
    with torch.no_grad():
        for name, weight in net.head.named_parameters():
            nn.init.normal_(weight, std=0.3 if "bias" in name else 0.05)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        net.train().backbone(torch.rand(4, 3, 320, 320))
    return net.eval()


@pytest.mark.parametrize("kind", ["FCOS", "RetinaNet", "SSD"])
@pytest.mark.parametrize("size", [(64, 64), (40, 90)])
@torch.no_grad()
def test_they_are_those_of_the_network(kind: str, size: tuple[int, int]) -> None:
    net, images = make(kind), torch.rand(3, 3, *size)
    net.score_thresh = 0.0
    scores = torch.cat([item["scores"] for item in net(list(images))])
    threshold = float(scores.sort(descending=True).values[min(150, len(scores) - 1)])
    found = dense_detections(net, images, threshold)
    assert found["is_exact"].all() and (found["num_candidates"] >= found["count"]).all() and found["count"].sum() > 50
    for k, expected in enumerate(net(list(images))):
        sure, count = expected["scores"] >= threshold, int(found["count"][k])
        assert count == sure.sum()
        ordered = []
        for item in ({key: part[k, :count] for key, part in found.items() if part.ndim > 1}, expected):
            rows = torch.cat([item["boxes"], item["labels"][:, None], item["scores"][:, None]], dim=1)
            ordered.append(sorted(rows[:count].round(decimals=3).tolist()))  # some scores are equal
        torch.testing.assert_close(torch.tensor(ordered[0]), torch.tensor(ordered[1]), atol=2e-3, rtol=0)
        assert not any(found[key][k, count:].any() for key in ("boxes", "labels", "scores"))


@torch.no_grad()
def test_too_many_candidates_are_told() -> None:
    net, images = make("FCOS"), torch.rand(2, 3, 64, 64)
    found = dense_detections(net, images, 0.0)
    assert (found["num_candidates"] > 300).all() and not found["is_exact"].any()


def test_a_box_that_is_suppressed_suppresses_none() -> None:
    corners = torch.tensor([[0.0, 0, 10, 10]]) + 2.5 * torch.arange(40.0)[:, None]  # each overlaps the next by a third
    boxes, labels = corners[None].repeat(2, 1, 1), torch.zeros(2, 40, dtype=torch.long)
    valid = torch.ones(2, 40, dtype=torch.bool)
    valid[1, 20:] = False
    kept, is_final = _not_suppressed(boxes, labels, valid, 0.3)
    assert kept[1, :20].tolist() == [k % 2 == 0 for k in range(20)] and is_final.tolist() == [False, True]
    labels = torch.arange(40).expand(2, 40)  # no two of a class
    assert torch.equal(_not_suppressed(boxes, labels, valid, 0.3)[0], valid)


def test_other_networks_are_refused() -> None:
    rcnn = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    with pytest.raises(UsageError, match="FasterRCNN cannot be exported: the number of its boxes depends on the image"):
        dense_detections(rcnn.eval(), torch.rand(1, 3, 64, 64), 0.5)
    with pytest.raises(UsageError, match=r"Identity cannot be exported: nobody knows .*; FCOS, RetinaNet and SSD can"):
        dense_detections(nn.Identity(), torch.rand(1, 3, 64, 64), 0.5)
