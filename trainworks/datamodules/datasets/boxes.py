from typing import Any

import numpy as np
import torch
from torch import Tensor


class Boxes:
    """The boxes of N images as targets of an ArrayDataset, in three arrays: a million boxes are no Python objects.

    `counts`, shape (N,), says how many an image has; `corners`, shape (M, 4), and `labels`, shape (M,), are all boxes.
    """

    def __init__(self, counts: Tensor, corners: Tensor, labels: Tensor) -> None:
        self.counts, self.corners, self.labels = counts, corners, labels
        self._starts = counts.cumsum(0) - counts

    def __len__(self) -> int:
        return len(self.counts)

    def __array__(self, *_: Any) -> np.ndarray:
        raise ValueError("boxes are no array")  # who asks wants classes or numbers

    def __getitem__(self, rows: Any) -> Any:
        """Return the boxes and labels of one image, or the Boxes of several."""
        counts, starts = self.counts[rows], self._starts[rows]
        if not counts.ndim:
            part = slice(int(starts), int(starts + counts))
            return {"boxes": self.corners[part], "labels": self.labels[part]}
        chosen = torch.arange(int(counts.sum())) + (starts - counts.cumsum(0) + counts).repeat_interleave(counts)
        return Boxes(counts, self.corners[chosen], self.labels[chosen])

    def index_select(self, dim: int, rows: Tensor) -> list[dict[str, Tensor]]:
        """Return the boxes and labels of each of several images."""
        return [self[row] for row in rows.tolist()]
