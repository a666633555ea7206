"""For samples that differ in size: ways to make a batch of them, and transforms of one after the other."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchvision import tv_tensors
from torchvision.transforms import v2


class PadSequences:
    """Bring sequences of different lengths to the longest of the batch.

    Args:
        value: Fills up the inputs.
        target_value: Fills up targets that are sequences too; -100 is what torch's cross-entropy ignores.
        lengths: Whether the batch is ((inputs, lengths), targets), with the lengths before padding, shape (B,).
    """

    def __init__(self, value: float = 0, target_value: float = -100, lengths: bool = False) -> None:
        self.value, self.target_value, self.lengths = value, target_value, lengths

    def __call__(self, batch: Sequence[tuple[Any, Any]]) -> tuple[Any, Tensor]:
        """Join samples (sequence of shape (L, ...), target) to inputs (B, L_max, ...) and targets (B, ...)."""
        sequences, targets = ([torch.as_tensor(item) for item in items] for items in zip(*batch, strict=True))
        inputs: Any = pad_sequence(sequences, batch_first=True, padding_value=self.value)
        if self.lengths:
            inputs = inputs, torch.tensor([len(sequence) for sequence in sequences])
        if targets[0].ndim == 0:
            return inputs, torch.stack(targets)
        return inputs, pad_sequence(targets, batch_first=True, padding_value=self.target_value)


class KeepLists:
    """Leave samples of different sizes apart: a list of images and a list of targets, as torchvision's detectors take.

    Batch transforms then draw for each sample by itself; see trainworks.datamodules.transforms.PerSample.
    """

    def __call__(self, batch: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
        """Turn a list of pairs into a pair of lists."""
        images, targets = zip(*batch, strict=True)
        return list(images), list(targets)


class PerSample(nn.Module):
    """Apply torchvision's transforms to each sample by itself, so that each draws its own parameters.

    Slower than those of whole batches, but it takes any of torchvision's, and samples of different sizes with boxes.

    Args:
        transforms: Applied in order to each sample (image, target).
    """

    def __init__(self, transforms: list[nn.Module]) -> None:
        super().__init__()
        self.transform = v2.Compose(transforms)

    def forward(self, images: Any, targets: Any = None) -> Any:
        """Transform images (B, C, H, W), or a list of them, with their targets, if any."""
        pairs = zip(images, [None] * len(images) if targets is None else targets, strict=True)
        results = [self.transform(_retyped(image, images), _retyped(target, targets)) for image, target in pairs]
        new_images, new_targets = zip(*results, strict=True)
        joined = _rejoin(new_images, images)
        return joined if targets is None else (joined, _rejoin(new_targets, targets))


def _retyped(sample: Any, batch: Any) -> Any:
    """Give one sample the type of its batch, which torch forgets when it takes a batch apart."""
    return tv_tensors.wrap(sample, like=batch) if isinstance(batch, tv_tensors.TVTensor) else sample


def _rejoin(samples: Sequence[Any], batch: Any) -> Any:
    return torch.stack(samples) if isinstance(batch, Tensor) else list(samples)  # type: ignore[arg-type]
