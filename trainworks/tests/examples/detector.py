from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from trainworks.models.base import BaseModule
from trainworks.models.dense_detections import dense_detections
from trainworks.models.results import BoxResult


class SmallPyramid(nn.Module):
    """A backbone without scales: a feature map of a quarter of the image's height and width."""

    def __init__(self, in_channels: int, widths: list[int]) -> None:
        super().__init__()
        self.out_channels = widths[-1]
        layers = [
            (nn.Conv2d(*pair, kernel_size=3, stride=1 + (k < 2), padding=1), nn.ReLU())
            for k, pair in enumerate(pairwise([in_channels, *widths]))
        ]
        self.layers = nn.Sequential(*(module for pair in layers for module in pair))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class Sum(nn.Module):
    """The sum of the loss terms that the network returns."""

    def forward(self, terms: dict[str, Tensor]) -> Tensor:
        return torch.stack([*terms.values()]).sum()


class DetectorModule(BaseModule):
    """Boxes of objects, by a network of torchvision.models.detection without batch norm or dropout."""

    threshold: float = 0.5  # score from which a detection counts

    def step(self, batch: tuple[Any, Any]) -> tuple[Tensor, Any, Any]:
        self.net.train()  # it returns its loss terms in training only
        terms = self.net(*batch)
        self.net.train(self.training)
        return self.loss(terms), [] if self.training else self.net(batch[0]), batch[1]

    def forward(self, inputs: Any) -> Any:
        return self.net(list(inputs))

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        return dense_detections(self.net, images, self.threshold)

    def results(self, predictions: Any, class_names: list[str] | None) -> list[BoxResult]:
        results = []
        for item in predictions:
            sure = item["scores"] >= self.threshold
            labels = [class_names[k] if class_names else str(k) for k in item["labels"][sure].tolist()]
            results.append(BoxResult(item["boxes"][sure].cpu(), labels, item["scores"][sure].tolist()))
        return results
