"""Ways to make a batch of samples of different sizes, for `data.collate`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class PadSequences:
    """Pad sequences of different lengths to the longest of the batch.

    Args:
        value: Padding of the inputs.
        target_value: Padding of targets that are sequences too; -100 is what torch's cross-entropy ignores.
        lengths: Whether the batch is ((inputs, lengths), targets), with the lengths before padding, shape (B,). The
            network gets both as one argument, a pair.
    """

    num_free = 1  # dimensions of an input that differ in size: the first

    def __init__(self, value: float = 0, target_value: float = -100, lengths: bool = False) -> None:
        self.value, self.target_value, self.lengths = value, target_value, lengths

    def __call__(self, batch: Sequence[tuple[Any, Any]]) -> tuple[Any, Tensor]:
        """Join samples (sequence of shape (L, ...), target) to inputs (B, L_max, ...) and targets (B, ...)."""
        sequences, values = zip(*batch, strict=True)
        targets = [torch.as_tensor(value) for value in values]
        if targets[0].ndim == 0:
            return self.join(sequences), torch.stack(targets)
        return self.join(sequences), pad_sequence(targets, batch_first=True, padding_value=self.target_value)

    def join(self, sequences: Sequence[Any]) -> Any:
        """Return the inputs of a batch, with their lengths if these are wanted."""
        tensors = [torch.as_tensor(sequence) for sequence in sequences]
        inputs = pad_sequence(tensors, batch_first=True, padding_value=self.value)
        return (inputs, torch.tensor([len(tensor) for tensor in tensors])) if self.lengths else inputs


class KeepLists:
    """Keep samples of different sizes as lists of images and targets, which torchvision's detectors take.

    Transforms of torchvision then need PerSample around them, to draw for each sample separately.
    """

    def __call__(self, batch: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
        """Turn a list of pairs into a pair of lists."""
        images, targets = zip(*batch, strict=True)
        return list(images), list(targets)

    join = staticmethod(list[Any])
