import hashlib
import os
from collections.abc import Sequence

from torch import Tensor, nn

from src.datamodules.datasets.array import ArrayDataset
from src.datamodules.datasets.decode import ImageInfo, decode_image
from src.datamodules.datasets.images import ImageDataset, ImageFormat
from src.datamodules.datasets.names import unpack_name


class ImageFiles(ImageDataset):
    """Image files.

    Args:
        root: Folder that the names are relative to.
        index: Names and classes of the files; see `file_index`.
        form: What each image is made into.
        transform: Random transforms of the whole image before it is made to fit.
        labelled: Whether samples are (image, class) or the image alone.
    """

    def __init__(
        self,
        root: str,
        index: ArrayDataset,
        form: ImageFormat,
        transform: Sequence[nn.Module] = (),
        labelled: bool = True,
    ) -> None:
        super().__init__(index, form, transform, labelled)
        self.root = root

    def path(self, item: int) -> str:
        """Return the path of a file."""
        return os.path.join(self.root, unpack_name(self.index[item][0]))

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
