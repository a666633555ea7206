from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


class ArrayDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images and targets held in memory, served a whole batch at a time.

    Args:
        images: Any type, shape (N, C, H, W); uint8 keeps memory small.
        targets: Shape (N,) or (N, ...).

    Raises:
        ValueError: If the lengths differ.
    """

    def __init__(self, images: Tensor, targets: Tensor) -> None:
        if len(images) != len(targets):
            raise ValueError(f"images and targets must have one length, got {len(images)} and {len(targets)}")
        self.images, self.targets = images, targets

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.targets[index]

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
        """Return images (B, C, H, W) and targets (B,): the batch itself, not a list of samples."""
        selected = torch.as_tensor(indices)
        return self.images[selected], self.targets[selected]

    def subset(self, indices: np.ndarray) -> "ArrayDataset":
        """Return a copy of the samples at `indices`."""
        return ArrayDataset(*self.__getitems__(indices))
