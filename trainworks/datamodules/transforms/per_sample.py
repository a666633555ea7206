from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors


class PerSample(nn.Module):
    """Apply torchvision's transforms to each sample by itself, so that each draws its own parameters.

    Slower than the transforms above, but it takes any of torchvision's, and samples of different sizes with boxes.

    Args:
        transforms: Applied in order to each sample (image, target).
    """

    def __init__(self, transforms: list[nn.Module]) -> None:
        super().__init__()
        self.transforms = transforms

    def forward(self, images: Any, targets: Any = None) -> Any:
        """Transform images (B, C, H, W), or a list of them, with their targets, if any."""
        pairs = zip(images, [None] * len(images) if targets is None else targets, strict=True)
        results = []
        for image, target in pairs:
            sample = (_retyped(image, images), _retyped(target, targets))
            for transform in self.transforms:
                sample = transform(*sample)
            results.append(sample)
        new_images, new_targets = zip(*results, strict=True)
        joined = _rejoin(new_images, images)
        return joined if targets is None else (joined, _rejoin(new_targets, targets))


def _retyped(sample: Any, batch: Any) -> Any:
    """Give one sample the type of its batch, which torch forgets when it takes a batch apart."""
    return tv_tensors.wrap(sample, like=batch) if isinstance(batch, tv_tensors.TVTensor) else sample


def _rejoin(samples: Sequence[Any], batch: Any) -> Any:
    return torch.stack(samples) if isinstance(batch, Tensor) else list(samples)  # type: ignore[arg-type]
