"""How samples are joined to a batch; a configuration names one as data.collate."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import default_collate

from src.errors import UsageError


def collate(batch: Any) -> Any:
    """Stack a list of samples; what a dataset serves as a batch already stays as it is."""
    if not isinstance(batch, list):
        return batch
    try:
        return default_collate(batch)
    except RuntimeError as error:
        if "equal size" not in str(error):
            raise
        raise UsageError(
            f"samples of one batch differ in size ({str(error).partition(', but ')[2]}); set data.image_size, or "
            "data.collate to src.datamodules.transforms.PadSequences or src.datamodules.transforms.KeepLists"
        ) from None


class KeepLists:
    """Leave samples of different sizes apart: a list of images and a list of targets, as torchvision's detectors take.

    Batch transforms then draw for each sample by itself; see src.datamodules.transforms.PerSample.
    """

    def __call__(self, batch: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
        """Turn a list of pairs into a pair of lists."""
        images, targets = zip(*batch, strict=True)
        return list(images), list(targets)


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
