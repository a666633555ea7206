import copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


class ArrayDataset(Dataset[Any]):
    """Samples held in memory, or in a file that is mapped into it, served a whole batch at a time.

    Args:
        inputs: Any type, shape (N, ...), such as images (N, C, H, W); uint8 keeps memory small.
        targets: Shape (N,) or (N, ...).
        groups: Samples with one value here never come apart in a split, shape (N,).
        weights: Relative frequency of each sample in weighted sampling, shape (N,).
        names: What each sample is called, such as its file; packed, shape (N, longest).
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
        self._indices: Tensor | None = None  # of the samples that belong to a subset, shape (M,)

    def __len__(self) -> int:
        return len(self._inputs if self._indices is None else self._indices)

    def __getitem__(self, index: int) -> Any:
        place = self._place(index)
        return self._inputs[place], self._columns["targets"][place]

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
        """Return inputs (B, ...) and targets (B, ...): the batch itself, not a list of samples."""
        places = self._place(torch.as_tensor(indices))  # index_select copies whole rows, 20 times as fast as [places]
        return self._inputs.index_select(0, places), self._columns["targets"].index_select(0, places)

    def name(self, index: int) -> str | None:
        """Return what a sample is called, None if it has no name."""
        names = self._columns["names"]
        if names is None:
            return None
        from trainworks.datamodules.datasets.packed_names import unpack_name  # arrays have none

        return unpack_name(names[self._place(index)])

    def subset(self, indices: np.ndarray) -> Self:
        """Return the samples at `indices`; nothing but the indices is copied."""
        chosen = copy.copy(self)
        chosen._indices = self._place(torch.from_numpy(indices))
        return chosen

    def with_inputs(self, inputs: Tensor) -> "ArrayDataset":
        """Return the same samples with other inputs, shape (M, ...); all else stays."""
        return ArrayDataset(inputs, **{name: self._own(name) for name in self._columns}, classes=self.classes)

    @property
    def inputs(self) -> Tensor:
        """The inputs of this dataset's own samples, shape (M, ...); a copy in a subset."""
        return self._inputs if self._indices is None else self._inputs[self._indices]

    @property
    def targets(self) -> Any:
        """The targets of this dataset's own samples, shape (M, ...), None if they have none."""
        return self._own("targets")

    @property
    def groups(self) -> np.ndarray | None:
        """The group of each of this dataset's samples, shape (M,)."""
        return self._own("groups")

    @property
    def weights(self) -> np.ndarray | None:
        """The weight of each of this dataset's samples, shape (M,)."""
        return self._own("weights")

    def _place(self, indices: Any) -> Any:
        return indices if self._indices is None else self._indices[indices]

    def _own(self, name: str) -> Any:
        values = self._columns[name]
        if values is None or self._indices is None:
            return values
        return values[self._indices.numpy() if isinstance(values, np.ndarray) else self._indices]
