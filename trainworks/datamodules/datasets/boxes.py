from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainworks.datamodules.datasets.image_format import ImageFormat


class Boxes:
    """The boxes of N images as targets of an ArrayDataset, in a few arrays: a million boxes are no Python objects.

    Args:
        counts: Number of boxes of each image, shape (N,).
        corners: x1, y1, x2, y2 in pixels, image after image, shape (M, 4).
        labels: Class of each box, from 1, shape (M,).
        sizes: Height and width of each image, shape (N, 2).
    """

    def __init__(self, counts: Tensor, corners: Tensor, labels: Tensor, sizes: Tensor) -> None:
        self.counts, self.corners, self.labels, self.sizes = counts, corners, labels, sizes
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
        return Boxes(counts, self.corners[chosen], self.labels[chosen], self.sizes[rows])

    def index_select(self, dim: int, rows: Tensor) -> list[dict[str, Tensor]]:
        """Return the boxes and labels of each of several images."""
        return [self[row] for row in rows.tolist()]

    def fitted(self, form: ImageFormat) -> "Boxes":
        """Return the boxes in images that were brought to a format, cut to these; what nothing is left of goes."""
        sizes, kinds = torch.unique(self.sizes, dim=0, return_inverse=True)
        kinds, corners = kinds.repeat_interleave(self.counts), torch.empty_like(self.corners)
        parts = kinds.argsort().split(kinds.bincount(minlength=len(sizes)).tolist())
        for rows, size in zip(parts, sizes.tolist(), strict=True):
            corners[rows] = form.place(*size).fit_boxes(self.corners[rows]).clamp(0, form.size)
        kept = (corners[:, :2] < corners[:, 2:]).all(dim=1)
        images = torch.arange(len(self)).repeat_interleave(self.counts)[kept]
        return Boxes(images.bincount(minlength=len(self)), corners[kept], self.labels[kept], self.sizes)
