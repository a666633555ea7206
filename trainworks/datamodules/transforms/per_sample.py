from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2


class PerSample(nn.Module):
    """Apply torchvision's transforms to each sample of a batch separately, so that each draws its own parameters.

    This is slower than transforms of whole batches, but works with any transform, and with boxes and different sizes.

    Args:
        transforms: Applied in order to each sample (image, target).
    """

    def __init__(self, transforms: list[nn.Module]) -> None:
        super().__init__()
        self.transform = v2.Compose(transforms)

    def forward(self, images: Any, targets: Any = None) -> Any:
        """Transform images (B, C, H, W), or a list of images, with their targets, if any."""
        pairs = zip(images, [None] * len(images) if targets is None else targets, strict=True)
        results = [self.transform(_retyped(image, images), _retyped(target, targets)) for image, target in pairs]
        new_images, new_targets = zip(*results, strict=True)
        joined = _rejoin(new_images, images)
        return joined if targets is None else (joined, _rejoin(new_targets, targets))


def _retyped(sample: Any, batch: Any) -> Any:
    """Give a sample the tv_tensor type of its batch, which indexing loses."""
    return tv_tensors.wrap(sample, like=batch) if isinstance(batch, tv_tensors.TVTensor) else sample


def _rejoin(samples: Sequence[Any], batch: Any) -> Any:
    return torch.stack(samples) if isinstance(batch, Tensor) else list(samples)  # type: ignore[arg-type]
