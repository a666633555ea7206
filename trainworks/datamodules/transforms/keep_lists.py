from collections.abc import Sequence
from typing import Any


class KeepLists:
    """Leave samples of different sizes apart: a list of images and a list of targets, as torchvision's detectors take.

    Batch transforms then draw for each sample by itself; see trainworks.datamodules.transforms.PerSample.
    """

    def __call__(self, batch: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
        """Turn a list of pairs into a pair of lists."""
        images, targets = zip(*batch, strict=True)
        return list(images), list(targets)
