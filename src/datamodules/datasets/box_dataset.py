from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

Target = dict[str, Tensor]


class BoxDataset(Dataset[tuple[Tensor, Target]]):
    """Images of one size in memory, each with any number of boxes, served a whole batch at a time.

    A sample is (image, {"boxes": shape (M, 4), "labels": shape (M,)}), as torchvision's detectors take it.

    Args:
        images: Shape (N, C, H, W).
        boxes: Corners x1, y1, x2, y2 in pixels, shape (N, M, 4), float; padded with zeros.
        labels: The class of each box, at least 1, shape (N, M); padded with zeros.
        classes: Names of the classes, in the order of their numbers.
    """

    serves_batches = True

    def __init__(self, images: Tensor, boxes: Tensor, labels: Tensor, classes: list[str] | None = None) -> None:
        if not len(images) == len(boxes) == len(labels):
            lengths = f"{len(images):,}, {len(boxes):,} and {len(labels):,}"
            raise ValueError(f"images, boxes and labels must have one length, got {lengths}")
        self.images, self.boxes, self.labels, self.classes = images, boxes, labels, classes
        self._counts = (labels > 0).sum(dim=1).tolist()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        count = self._counts[index]
        return self.images[index], {"boxes": self.boxes[index, :count], "labels": self.labels[index, :count]}

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, list[Target]]:
        """Return images (B, C, H, W) and B targets: the batch itself, not a list of samples."""
        return self.images.index_select(0, torch.as_tensor(indices)), [self[int(index)][1] for index in indices]

    def subset(self, indices: np.ndarray) -> "BoxDataset":
        """Return the samples at `indices`."""
        chosen = torch.from_numpy(indices)
        return BoxDataset(self.images[chosen], self.boxes[chosen], self.labels[chosen], self.classes)
