"""Decode image files to tensors, with the fastest decoder for their size."""

import contextlib
import io
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from trainworks.datamodules.datasets.image_arrays import Decoded, ImageInfo, from_array, read_tiff
from trainworks.errors import UsageError

PILLOW_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
DECODING_ERRORS = (OSError, ValueError, RuntimeError, SyntaxError, MemoryError, Image.DecompressionBombError)
OVERSAMPLING = 2  # a JPEG is decoded at a smaller scale only if that still has twice the height and width wanted


class UnreadableImage(UsageError):
    """An image file that cannot be decoded whole."""


@contextlib.contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn any error of a decoder into an UnreadableImage that names the image."""
    try:
        yield
    except UsageError:  # of a package that is not there
        raise
    except DECODING_ERRORS as error:
        reason = re.sub(r"^\w+, \S+:\d+, ", "", str(error).replace("\n", " ")).partition(" <_io.")[0]  # an address
        raise UnreadableImage(f"{name}: cannot be read as an image: {reason[:200]}") from None


def decode_image(source: Any, num_channels: int = 3, min_side: int | None = None, dtype: str = "uint8") -> Decoded:
    """Read a file, Pillow image, array (H, W, C) or tensor (C, H, W) upright, see `from_array`.

    Pillow and torchcodec decode a JPEG to the same pixels: torchcodec faster, Pillow at a half, quarter or eighth of
    its size where at least twice `min_side` is left, the shorter side wanted. What is no image is an UnreadableImage.
    """
    path = str(source) if isinstance(source, str | Path) else ""
    with readable(path or type(source).__name__):
        if path.lower().endswith(".npy"):
            source = np.load(path, mmap_mode="c")
        elif path:
            return _decode_file(path, Path(path).read_bytes(), num_channels, min_side, dtype)
        if isinstance(source, Image.Image):
            pixels = from_pillow(source, num_channels, dtype)
            return pixels, ImageInfo(pixels.shape[-1], pixels.shape[-2], source.mode)
        if isinstance(source, Tensor):
            source = (source.movedim(0, -1) if source.ndim == 3 else source).cpu().numpy()
        return from_array(source, num_channels, dtype)


def size_of(source: Any, num_channels: int = 3, dtype: str = "uint8") -> tuple[int, int]:
    """Return height and width of an upright image; a file that Pillow knows is not decoded."""
    with contextlib.suppress(*DECODING_ERRORS, AttributeError), Image.open(source) as image:
        is_plain = image.format == "PNG" and b"exif" not in Path(source).read_bytes().lower()  # else it is decoded
        info = ImageInfo(*image.size, image.mode) if is_plain else _info_of(image)
        return info.height, info.width
    info = decode_image(source, num_channels, dtype=dtype)[1]
    return info.height, info.width


def _info_of(image: Image.Image) -> ImageInfo:
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    size = image.size
    if isinstance(image, TiffImageFile):  # whose size is upright in newer versions of Pillow
        size = image.tag_v2[256], image.tag_v2[257]
    width, height = size[::-1] if orientation in (5, 6, 7, 8) else size
    return ImageInfo(width, height, image.mode, orientation)


def _decode_file(path: str, data: bytes, num_channels: int, min_side: int | None, dtype: str) -> Decoded:
    if not data:
        raise ValueError("the file is empty")
    try:
        opened = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):  # a TIFF with more bands than Pillow knows
            return read_tiff(path, num_channels, dtype)
        if data[4:8] != b"ftyp":  # of HEIC and AVIF
            raise
        return from_array(_decode_fast(path, data, num_channels).movedim(0, -1).numpy(), num_channels, dtype)
    with opened as image:
        info = _info_of(image)
        ordinary = num_channels in (1, 3) and dtype == "uint8"
        if isinstance(image, TiffImageFile):  # of which Pillow would lose pages or bits
            deep = max(image.tag_v2.get(258, (1,))) > 8 and image.mode not in ("F", "I;16", "I;16B")
            grey_pages = image.n_frames == num_channels > 1 and len(image.getbands()) == 1
            if grey_pages or (not ordinary and (deep or image.n_frames > 1)):
                return read_tiff(path, num_channels, dtype)
        if dtype != "uint8" and image.format == "PNG" and data[24] == 16 and image.mode[0] != "I":  # colour of 16 bits
            return from_array(_decode_fast(path, data, num_channels).movedim(0, -1).numpy(), num_channels, dtype)
        scaled = min_side is not None and min(image.size) >= 2 * OVERSAMPLING * min_side
        if ordinary and image.format == "JPEG" and not scaled and torchcodec() is not None:
            return _decode_fast(path, data, num_channels), info
        if scaled:
            ratio = OVERSAMPLING * min_side / min(image.size)  # type: ignore[operator]
            image.draft(PILLOW_MODES.get(num_channels), (int(image.width * ratio), int(image.height * ratio)))
        return from_pillow(image, num_channels, dtype), info


def from_pillow(image: Image.Image, num_channels: int, dtype: str = "uint8") -> Tensor:
    """Convert a Pillow image to an upright tensor, shape (C, H, W)."""
    image, mode = ImageOps.exif_transpose(image), PILLOW_MODES.get(num_channels)
    if mode and image.mode[0] not in "IF" and (mode[-1] != "A" or image.has_transparency_data):
        image = image.convert(mode)
    array = np.asarray(image)
    array = array.clip(0, 65535).astype(np.uint16) if image.mode[0] == "I" else array  # Pillow would cut it off at 255
    return from_array(array, num_channels, dtype)[0]


@cache
def torchcodec() -> Any:
    """Return torchcodec's decoder, or None where that package is not there or has no wheel for this system."""
    with contextlib.suppress(ImportError, OSError, RuntimeError):
        return import_module("torchcodec.decoders").decode_image


def _decode_fast(path: str, data: bytes, num_channels: int) -> Tensor:
    if (decode := torchcodec()) is None:
        raise UsageError(f"{path}: such an image needs the package torchcodec; write pip install torchcodec")
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # of bytes it changes the filter of warnings
    return decode(encoded, mode={1: "GRAY", 3: "RGB"}.get(num_channels, "UNCHANGED"), output_dtype="auto")
