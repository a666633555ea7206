import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset
from torchvision import tv_tensors
from torchvision.transforms import v2

from trainworks.datamodules.annotations import IGNORED_CLASS, title_of
from trainworks.datamodules.datasets.array_dataset import ArrayDataset
from trainworks.datamodules.datasets.decode import UnreadableImage, decode_image, from_pillow, readable
from trainworks.datamodules.datasets.image_arrays import ImageInfo, upright
from trainworks.datamodules.datasets.image_format import ImageFormat


class ImageDataset(ArrayDataset):
    """Images of any size, decoded one by one and brought to one format; `ImageCache` decodes them all beforehand.

    A subclass decodes one image, and its mask where `has_masks`; it is kept beside the image as one more channel. A
    sample is (image, class), (image, labels of shape (K,)), (image, mask), or the image alone without targets.

    Args:
        index: Targets and names of the images, and what else is known without decoding them.
        form: The format of each image.
        transform: Random transforms of the image in its full size, before it is resized. They draw from generators
            that `KeyedDataset` seeds.
    """

    serves_batches = False
    has_masks = False
    __getitems__ = None  # type: ignore[assignment]

    def __init__(self, index: ArrayDataset, form: ImageFormat, transform: Sequence[nn.Module] = ()) -> None:
        vars(self).update(vars(index))  # the columns of the index, not copied
        self.form, self.transform = form, transform

    @property
    def decoded_shape(self) -> tuple[int, int, int, int]:
        """The shape (N, C, size, size) of all that `read` returns; masks are one more channel."""
        return len(self), self.form.num_channels + self.has_masks, self.form.size, self.form.size

    def decode(self, item: int) -> tuple[Tensor, ImageInfo]:
        """Return the image (C, H, W) at full or a smaller scale, and its file's info, or raise an UnreadableImage."""
        raise NotImplementedError

    def decode_mask(self, item: int) -> Tensor:
        """Return the class of each pixel, uint8 of shape (H, W), of the image as it is stored or once it is upright."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return a text that changes whenever the pixels of an image or a mask would."""
        raise NotImplementedError

    def with_inputs(self, inputs: Tensor) -> ArrayDataset:
        """Return the same samples with what `read` returned for them, shape (M, C, size, size)."""
        served = super().with_inputs(inputs[:, : self.form.num_channels])
        if self.has_masks:
            served._columns["targets"] = inputs[:, -1].to(torch.uint8)
        return served

    def __getitem__(self, index: int) -> Any:
        image, targets = self.read(index), self._columns["targets"]
        if self.has_masks:
            return image[:-1], image[-1].to(torch.uint8)
        if targets is None:
            return image
        target = targets[self._row(index)]
        return image, target if getattr(target, "ndim", 1) else int(target)

    def read(self, item: int) -> Tensor:
        """Return the image, shape (C, size, size), with its mask as the last channel where there are masks."""
        image, info = self.decode(item)
        masks = [self._upright_mask(item, info)] if self.has_masks else []  # one, or none
        for transform in self.transform:
            image, *masks = transform(image, *masks) if masks else [transform(image)]
            info = replace(info, height=image.shape[-2], width=image.shape[-1])
        place = self.form.place(info.height, info.width)
        return torch.cat([place.fit(image), *(place.fit_mask(mask, IGNORED_CLASS)[None] for mask in masks)])

    def _upright_mask(self, item: int, info: ImageInfo) -> Tensor:
        mask, wanted = self.decode_mask(item), (info.height, info.width)
        for turned in (mask, upright(mask, info.orientation)):
            if tuple(turned.shape) == wanted:
                return tv_tensors.Mask(turned)
        sizes = "{1} x {0} pixels, but its image has {3} x {2}".format(*mask.shape, *wanted)
        raise UnreadableImage(f"{title_of(self, item)}: the mask has {sizes}")


class ImageFiles(ImageDataset):
    """Image files; their names in the index are paths below the folder `root`."""

    def __init__(self, root: str, index: ArrayDataset, form: ImageFormat, transform: Sequence[nn.Module] = ()) -> None:
        super().__init__(index, form, transform)
        self.root = root

    def path(self, item: int) -> str:
        """Return the path of an image."""
        return os.path.join(self.root, str(self.name(item)))

    def paths(self, item: int) -> list[str]:
        """Return the paths of all files of a sample: the image's, and in a subclass its mask's too."""
        return [self.path(item)]

    def decode(self, item: int) -> tuple[Tensor, ImageInfo]:
        """Return the image and the info of its file."""
        min_side = None if self.transform else self.form.size
        return decode_image(self.path(item), self.form.num_channels, min_side, self.form.dtype)

    def fingerprint(self) -> str:
        """Return a hash of the files' names, sizes and times."""
        digest = hashlib.sha256(os.fsencode(os.getcwd()))  # to which relative paths refer
        for path in chain.from_iterable(map(self.paths, range(len(self)))):
            with contextlib.suppress(OSError):  # decoding names the file
                status = os.stat(path)
                digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()


class PillowImages(ImageDataset):
    """The images of another dataset whose samples are (Pillow image, class), as most of torchvision's are.

    `targets` has the class of each of its samples, shape (N,), and `classes` their names, in the order of the numbers.
    """

    def __init__(self, dataset: Dataset[Any], targets: Tensor, classes: list[str] | None, form: ImageFormat) -> None:
        super().__init__(ArrayDataset(torch.arange(len(targets)), targets, classes=classes), form)
        self.dataset = dataset

    def decode(self, item: int) -> tuple[Tensor, ImageInfo]:
        """Return the image and its info."""
        index = int(self._row(item))
        with readable(f"{type(self.dataset).__name__}, sample {index}"):
            image = self.dataset[index][0]
            image.load()  # Pillow may only have opened the file, and here its sample is known
        return decode_image(image, self.form.num_channels, None, self.form.dtype)

    def fingerprint(self) -> str:
        """Return a hash of the dataset's description (its repr) and its targets."""
        return hashlib.sha256(repr(self.dataset).encode() + self.targets.numpy().tobytes()).hexdigest()


class PairedImages(Dataset[Any]):
    """Samples (image, target) of another dataset; both are transformed, and brought to a format if there is one.

    Targets are torchvision's tv_tensors, masks or boxes, or dictionaries that hold such.
    """

    def __init__(self, dataset: Dataset[Any], form: ImageFormat | None, transform: Sequence[nn.Module] = ()) -> None:
        self.dataset, self.form, self.transform = dataset, form, transform
        self._resize: list[nn.Module] = []
        if form is not None:
            size: Any = {"stretch": (form.size, form.size), "crop": form.size, "pad": None}[form.fit]
            self._resize = [v2.Resize(size, max_size=None if size else form.size), v2.CenterCrop(form.size)]

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, item: int) -> Any:
        """Return image and target."""
        image, target = self.dataset[item]
        wanted = (self.form.num_channels, self.form.dtype) if self.form else (3, "uint8")
        sample = tv_tensors.Image(from_pillow(image, *wanted)), target
        for transform in [*self.transform, *self._resize]:
            sample = transform(*sample)
        return sample

    def subset(self, indices: np.ndarray) -> "PairedImages":
        """Return the samples at `indices`."""
        return PairedImages(Subset(self.dataset, indices), self.form, self.transform)  # type: ignore[arg-type]
