from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional

from trainworks.datamodules.datasets.decode import UnreadableImage, decode_image
from trainworks.datamodules.datasets.image_arrays import from_array


class ImageRows:
    """An image of which some rows are read at a time: of a TIFF file of one page these, any other is decoded whole.

    `height` and `width` are those of the image resized by `scale`, of which `read` returns rows; `size` is the file's.
    """

    def __init__(self, source: Any, num_channels: int, dtype: str, scale: float) -> None:
        self.source, self._kind, self._whole = source, (num_channels, dtype), None
        try:
            with _page(source) as page:
                self.size = page.imagelength, page.imagewidth
        except Exception:  # whatever tifffile raises, or that it is not there
            self._whole, _ = decode_image(source, num_channels, None, dtype)
            self.size = self._whole.shape[-2], self._whole.shape[-1]
        self.height, self.width = (max(round(side * scale), 1) for side in self.size)

    def read(self, top: int, bottom: int) -> Tensor:
        """Return rows, shape (C, bottom - top, width)."""
        first, last = top * self.size[0] // self.height, -(-bottom * self.size[0] // self.height)
        try:
            rows = self._read(first, last) if self._whole is None else self._whole[:, first:last]
        except Exception as error:
            raise UnreadableImage(f"{self.source}: cannot be read as an image: {error}") from None
        return functional.resize(rows, [bottom - top, self.width], antialias=True)

    def _read(self, first: int, last: int) -> Tensor:
        with _page(self.source) as page:
            if page.is_memmappable:
                array = page.asarray(out="memmap")[first:last].reshape(last - first, page.imagewidth, -1)
            else:
                array = np.zeros((last - first, page.imagewidth, page.samplesperpixel), page.dtype)
                height, across, file = page.chunks[0], page.chunked[1], page.parent.filehandle  # of strips or tiles
                for index in range(first // height * across, -(-last // height) * across):
                    file.seek(page.dataoffsets[index])
                    part, (*_, top, left, _), _ = page.decode(file.read(page.databytecounts[index]), index)
                    part = part[0, max(first - top, 0) : last - top, : page.imagewidth - left]
                    array[max(top - first, 0) :, left:][: len(part), : part.shape[1]] = part
            num_hidden = int(len(page.extrasamples) == 1 and self._kind[0] in (1, 3))  # transparency
            return from_array(array[..., : page.samplesperpixel - num_hidden], *self._kind)[0]


@contextmanager
def _page(path: Any) -> Iterator[Any]:
    """Open the page of a TIFF file of which rows can be read; anything else is an error."""
    with import_module("tifffile").TiffFile(path) as file:
        page = file.pages[0]
        is_plain = len(file.pages) == 1 and page.axes in ("YX", "YXS") and page.photometric in (1, 2)
        if not is_plain or page.tags.valueof("Orientation", 1) != 1 or not page.decode(None, 0):
            raise ValueError("its pixels must be grey or colours, channels last, upright and not in an unknown form")
        yield page
