import copy
import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


class ArrayDataset(Dataset[Any]):
    """Samples in memory, or in a file that is mapped into memory, served a whole batch at a time.

    Args:
        inputs: Any type, shape (N, ...), such as images (N, C, H, W); uint8 keeps memory small.
        targets: Shape (N,) or (N, ...).
        groups: The group of each sample, shape (N,); no group is in two splits.
        weights: Relative frequency of each sample in weighted sampling, shape (N,).
        names: The name of each sample, such as its file, see `pack_names` in file_index.py, shape (N, longest).
        classes: Names of the classes, in the order of their numbers.
    """

    serves_batches = True

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor | None,
        groups: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        names: Tensor | None = None,
        classes: list[str] | None = None,
    ) -> None:
        columns: dict[str, Any] = {"targets": targets, "groups": groups, "weights": weights, "names": names}
        for name, values in columns.items():
            if values is not None and len(values) != len(inputs):
                raise ValueError(f"inputs and {name} must have one length, got {len(inputs):,} and {len(values):,}")
        self._inputs, self._columns, self.classes = inputs, columns, classes
        self._indices: Tensor | None = None  # of the samples of a subset, shape (M,)

    def __len__(self) -> int:
        return len(self._inputs if self._indices is None else self._indices)

    def __getitem__(self, index: int) -> Any:
        row = self._row(index)
        return self._inputs[row], self._columns["targets"][row]

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
        """Return inputs (B, ...) and targets (B, ...): the batch itself, not a list of samples."""
        rows = self._row(torch.as_tensor(indices))  # index_select copies whole rows, 20 times as fast as [rows]
        return self._inputs.index_select(0, rows), self._columns["targets"].index_select(0, rows)

    def name(self, index: int) -> str | int:
        """Return the name of a sample, else its number in what this is a subset of."""
        names, row = self._columns["names"], int(self._row(index))
        return row if names is None else unpack_name(names[row])

    def subset(self, indices: np.ndarray) -> Self:
        """Return the samples at `indices`; only the indices are copied."""
        chosen = copy.copy(self)
        chosen._indices = self._row(torch.from_numpy(indices))
        return chosen

    def with_inputs(self, inputs: Tensor) -> "ArrayDataset":
        """Return the same samples with other inputs, shape (M, ...)."""
        return ArrayDataset(inputs, **{name: self._column(name) for name in self._columns}, classes=self.classes)

    @property
    def inputs(self) -> Tensor:
        """The inputs of the samples, shape (M, ...); a copy in a subset."""
        return self._inputs if self._indices is None else self._inputs[self._indices]

    @property
    def targets(self) -> Any:
        """The targets of the samples, shape (M, ...), None if they have none."""
        return self._column("targets")

    @property
    def groups(self) -> np.ndarray | None:
        """The group of each sample, shape (M,)."""
        return self._column("groups")

    @property
    def weights(self) -> np.ndarray | None:
        """The weight of each sample, shape (M,)."""
        return self._column("weights")

    def _row(self, indices: Any) -> Any:
        return indices if self._indices is None else self._indices[indices]

    def _column(self, name: str) -> Any:
        values = self._columns[name]
        if values is None or self._indices is None:
            return values
        return values[self._indices.numpy() if isinstance(values, np.ndarray) else self._indices]


def unpack_name(row: Tensor) -> str:
    """Return the name in one row of what `pack_names` returned."""
    return os.fsdecode(row.numpy().tobytes().rstrip(b"\0"))


def channels_first(images: Tensor, num_channels: int = 3) -> Tensor:
    """Bring images of shape (N, H, W) or (N, H, W, C) to (N, C, H, W), where C is 1, 3 or `num_channels`."""
    if images.ndim == 3:
        return images.unsqueeze(1)
    if images.ndim == 4 and images.shape[1] not in (1, 3, num_channels) and images.shape[-1] in (1, 3, num_channels):
        return images.permute(0, 3, 1, 2).contiguous()
    return images
