from collections.abc import Sequence
from typing import Any


class KeepLists:
    """Keep samples of different sizes as lists of images and targets, which torchvision's detectors take.

    Transforms of torchvision then need PerSample around them, to draw for each sample separately.
    """

    def __call__(self, batch: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
        """Turn a list of pairs into a pair of lists."""
        images, targets = zip(*batch, strict=True)
        return list(images), list(targets)
