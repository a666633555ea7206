import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from trainworks.datamodules.datasets.array import ArrayDataset
from trainworks.datamodules.datasets.decode import ImageInfo, decode_image, fit_image


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


class ImageDataset(ArrayDataset):
    """Images of any size, decoded one by one and made to fit; `Store` decodes them all beforehand.

    A subclass tells how one is decoded. A sample is (image, class), or the image alone where there are no targets.

    Args:
        index: What is known of each image without decoding it.
        form: What each image is made into.
        transform: Random transforms of the whole image before it is made to fit, so that a crop is taken from all of
            it; they draw from generators that `KeyedDataset` seeds.
    """

    serves_batches = False
    __getitems__ = None  # type: ignore[assignment]

    def __init__(self, index: ArrayDataset, form: ImageFormat, transform: Sequence[nn.Module] = ()) -> None:
        vars(self).update(vars(index))
        self.form, self.transform = form, transform

    def decode(self, item: int) -> tuple[Tensor, ImageInfo]:
        """Return the image, uint8 of shape (C, H, W) at full or at a smaller scale, and what its file is.

        One that cannot be decoded whole is an UnreadableImage.
        """
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return a text that changes when any decoded image would."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> Any:
        image, targets = self.read(index), self._columns["targets"]
        return image if targets is None else (image, int(targets[self._place(index)]))

    def read(self, item: int) -> Tensor:
        """Return the image alone, uint8 of shape (C, size, size)."""
        image, info = self.decode(item)
        for transform in self.transform:
            image = transform(image)
            info = replace(info, height=image.shape[-2], width=image.shape[-1])
        return fit_image(image, self.form.size, self.form.fit == "crop", info)


class ImageFiles(ImageDataset):
    """Image files, called in the index as they are below the folder `root`."""

    def __init__(self, root: str, index: ArrayDataset, form: ImageFormat, transform: Sequence[nn.Module] = ()) -> None:
        super().__init__(index, form, transform)
        self.root = root

    def path(self, item: int) -> str:
        """Return the path of a file."""
        return os.path.join(self.root, str(self.name(item)))

    def decode(self, item: int) -> tuple[Tensor, ImageInfo]:
        """Return the image and what its file is."""
        return decode_image(self.path(item), self.form.num_channels, None if self.transform else self.form.size)

    def fingerprint(self) -> str:
        """Return a hash of the files' names, sizes and times."""
        digest = hashlib.sha256(os.fsencode(os.getcwd()))  # what relative paths are relative to
        for item in range(len(self)):
            path = self.path(item)
            try:
                status = os.stat(path)
            except OSError:
                continue  # unreadable, which decoding will say
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()
