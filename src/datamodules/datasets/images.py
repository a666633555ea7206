import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from torch import Tensor, nn
from torch.utils.data import Dataset

from src.datamodules.datasets.array import ArrayDataset
from src.datamodules.datasets.decode import ImageInfo, fit_image


@dataclass(frozen=True)
class ImageFormat:
    """What every image of a dataset is made into.

    Args:
        size: Height and width in pixels.
        fit: "crop" keeps the proportions and the middle, "stretch" keeps everything and bends the proportions.
        num_channels: 1 for grey, 3 for colour.
    """

    size: int
    fit: Literal["crop", "stretch"] = "crop"
    num_channels: int = 3


class ImageDataset(Dataset[Any]):
    """Images of any size, decoded one by one and made to fit; `Store` decodes them all beforehand.

    A subclass tells how one is decoded.

    Args:
        index: What is known of each image without decoding it; its inputs say where the image is.
        form: What each image is made into.
        transform: Random transforms of the whole image before it is made to fit, so that a crop is taken from all of
            it; they draw from generators that `KeyedDataset` seeds.
        labelled: Whether samples are (image, class) or the image alone.
    """

    def __init__(
        self, index: ArrayDataset, form: ImageFormat, transform: Sequence[nn.Module] = (), labelled: bool = True
    ) -> None:
        self.index, self.form, self.transform, self.labelled = index, form, transform, labelled
        self.classes = index.classes

    def decode(self, item: int) -> tuple[Tensor, ImageInfo]:
        """Return the image, uint8 of shape (C, H, W) at full or at a smaller scale, and what its file is."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return a text that changes when any decoded image would."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> Any:
        """Return the image, uint8 of shape (C, size, size), and its class if it has one."""
        image = self.read(item)
        return (image, int(self.index[item][1])) if self.labelled else image

    def read(self, item: int) -> Tensor:
        """Return the image alone, uint8 of shape (C, size, size)."""
        image, info = self.decode(item)
        for transform in self.transform:
            image = transform(image)
            info = replace(info, height=image.shape[-2], width=image.shape[-1])
        return fit_image(image, self.form.size, self.form.fit == "crop", info)

    def name(self, item: int) -> str | None:
        """Return what an image is called, None if it has no name."""
        return self.index.name(item)

    def subset(self, indices: np.ndarray) -> Self:
        """Return the images at `indices`, without copying anything else."""
        chosen = copy.copy(self)
        chosen.index = self.index.subset(indices)
        return chosen

    @property
    def targets(self) -> Tensor | None:
        """The class of each image, shape (N,)."""
        return self.index.targets if self.labelled else None

    @property
    def groups(self) -> np.ndarray | None:
        """The group of each image, shape (N,)."""
        return self.index.groups

    @property
    def weights(self) -> np.ndarray | None:
        """The weight of each image in weighted sampling, shape (N,)."""
        return self.index.weights
