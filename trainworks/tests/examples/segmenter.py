from itertools import pairwise

import torch
from torch import Tensor, nn

from trainworks.models.base import BaseModule
from trainworks.models.results import MaskResult


def two_convolutions(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return two 3x3 convolutions with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [nn.Conv2d(channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Each scale is half as high and wide as the one before, and has so many channels."""

    def __init__(self, in_channels: int, num_classes: int, widths: list[int]) -> None:
        super().__init__()
        self.down = nn.ModuleList(two_convolutions(*pair) for pair in pairwise([in_channels, *widths]))
        self.up = nn.ModuleList(two_convolutions(high + low, high) for high, low in reversed(list(pairwise(widths))))
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        scales = [self.down[0](images)]
        for block in self.down[1:]:
            scales.append(block(nn.functional.max_pool2d(scales[-1], 2)))
        result = scales.pop()
        for block, skip in zip(self.up, reversed(scales), strict=True):
            result = block(torch.cat([skip, nn.functional.interpolate(result, scale_factor=2.0)], dim=1))
        return self.head(result)


class SegmenterModule(BaseModule):
    """A class for each pixel."""

    def step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        images, masks = batch[0], batch[1].long()
        logits = self.net(images)
        return self.loss(logits, masks), logits, masks

    def outputs(self, images: Tensor) -> Tensor:
        return self.net(images).softmax(dim=1)

    def results(self, predictions: Tensor, class_names: list[str] | None) -> list[MaskResult]:
        probabilities, classes = predictions.float().softmax(dim=1).max(dim=1)
        masks, confidence = classes.to(torch.uint8).cpu(), probabilities.mean(dim=(1, 2)).tolist()
        return [MaskResult(mask, value, class_names or []) for mask, value in zip(masks, confidence, strict=True)]
