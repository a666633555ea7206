import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset
from torchvision import tv_tensors
from torchvision.transforms import v2

from trainworks.datamodules.datasets.array import ArrayDataset
from trainworks.datamodules.datasets.decode import DECODING_ERRORS, ImageInfo, UnreadableImage, from_pillow
from trainworks.datamodules.datasets.images import ImageDataset, ImageFormat


class PillowImages(ImageDataset):
    """The images of another dataset whose samples are (Pillow image, class), as most of torchvision's are.

    Args:
        dataset: The other one.
        targets: The class of each of its samples, shape (N,).
        classes: Names of the classes, in the order of their numbers.
        form: What each image is made into.
    """

    def __init__(self, dataset: Dataset[Any], targets: Tensor, classes: list[str] | None, form: ImageFormat) -> None:
        super().__init__(ArrayDataset(torch.arange(len(targets)), targets, classes=classes), form)
        self.dataset = dataset

    def decode(self, item: int) -> tuple[Tensor, ImageInfo]:
        """Return the image and what it is."""
        place = int(self._place(item))
        try:
            image = self.dataset[place][0]
            pixels = from_pillow(image, self.form.num_channels)
        except DECODING_ERRORS as error:
            name = f"{type(self.dataset).__name__}, sample {place}"
            raise UnreadableImage(f"{name}: cannot be read as an image: {str(error)[:200]}") from None
        return pixels, ImageInfo(pixels.shape[-1], pixels.shape[-2], image.mode, rotated=False)

    def fingerprint(self) -> str:
        """Return a hash of what the dataset says of itself and of its targets."""
        return hashlib.sha256(repr(self.dataset).encode() + self.targets.numpy().tobytes()).hexdigest()


class PairedImages(Dataset[Any]):
    """Samples (image, target) of another dataset, transformed together: masks and boxes travel with their image.

    Args:
        dataset: Its targets are torchvision's tv_tensors, or dictionaries that hold such.
        form: What images and targets are made into; None to leave the sizes as they are.
        transform: Transforms of image and target before they are made to fit.
    """

    def __init__(self, dataset: Dataset[Any], form: ImageFormat | None, transform: Sequence[nn.Module] = ()) -> None:
        self.dataset, self.form, self.transform = dataset, form, transform
        self._fit: list[nn.Module] = []
        if form is not None and form.fit == "crop":
            self._fit = [v2.Resize(form.size, antialias=True), v2.CenterCrop(form.size)]
        elif form is not None:
            self._fit = [v2.Resize((form.size, form.size), antialias=True)]

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, item: int) -> Any:
        """Return image and target."""
        image, target = self.dataset[item]
        sample = tv_tensors.Image(from_pillow(image, self.form.num_channels if self.form else 3)), target
        for transform in [*self.transform, *self._fit]:
            sample = transform(*sample)
        return sample

    def subset(self, indices: np.ndarray) -> "PairedImages":
        """Return the samples at `indices`."""
        return PairedImages(Subset(self.dataset, indices), self.form, self.transform)  # type: ignore[arg-type]
