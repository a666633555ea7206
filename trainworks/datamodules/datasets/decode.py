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
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from trainworks.datamodules.datasets.image_arrays import (
    ORIENTATION_TAG,
    Decoded,
    ImageInfo,
    from_array,
    read_tiff,
    to_format,
)
from trainworks.errors import UsageError

PILLOW_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
DECODING_ERRORS = (OSError, ValueError, RuntimeError, SyntaxError, MemoryError, Image.DecompressionBombError)
OVERSAMPLING = 2  # a JPEG is decoded at a smaller scale only if that still has twice the height and width wanted
BITS_TAG = 258  # of a TIFF file: bits of each channel


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
    """Read a file, Pillow image, array (H, W, C) or tensor (C, H, W) upright, with channels and type of `to_format`.

    Pillow and torchcodec decode a JPEG to the same pixels. torchcodec is faster, unless the image is so large that
    libjpeg can decode it at a half, a quarter or an eighth of its size, which only Pillow offers. `min_side` is the
    shorter side that is wanted in the end; a large JPEG is decoded at a smaller scale of at least twice that side.
    Ordinary images leave transparency out. A file that is missing, empty, truncated or no image is an UnreadableImage.
    """
    is_file = isinstance(source, str | Path)
    with readable(str(source) if is_file else type(source).__name__):
        if is_file and str(source).lower().endswith(".npy"):
            source = np.load(source, mmap_mode="c")
        elif is_file:
            return _decode_file(str(source), Path(source).read_bytes(), num_channels, min_side, dtype)
        if isinstance(source, Image.Image):
            pixels = from_pillow(source, num_channels, dtype)
            return pixels, ImageInfo(pixels.shape[-1], pixels.shape[-2], source.mode)
        if isinstance(source, Tensor):
            source = (source.movedim(0, -1) if source.ndim == 3 else source).cpu().numpy()
        return from_array(source, num_channels, dtype)


def size_of(source: Any, num_channels: int = 3, dtype: str = "uint8") -> tuple[int, int]:
    """Return height and width of an upright image; of a file that Pillow knows only the beginning is read."""
    with contextlib.suppress(*DECODING_ERRORS, AttributeError), Image.open(source) as image:
        is_plain = image.format == "PNG" and b"exif" not in Path(source).read_bytes().lower()  # else it is decoded
        orientation = 1 if is_plain else image.getexif().get(ORIENTATION_TAG, 1)
        return image.size if orientation in (5, 6, 7, 8) else image.size[::-1]
    info = decode_image(source, num_channels, dtype=dtype)[1]
    return info.height, info.width


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
        pixels = to_format(_decode_fast(path, data, num_channels), num_channels, dtype)
        return pixels, ImageInfo(pixels.shape[-1], pixels.shape[-2], "HEIC")
    with opened as image:
        width, height, mode = *image.size, image.mode
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
        if orientation in (5, 6, 7, 8):
            width, height = height, width
        info = ImageInfo(width, height, mode, orientation)
        whole = num_channels not in (1, 3) or dtype != "uint8"
        if isinstance(image, TiffImageFile):
            whole = whole or (image.n_frames == num_channels and len(image.getbands()) == 1)
            if whole and (image.n_frames > 1 or max(image.tag_v2.get(BITS_TAG, (1,))) > 8):  # which Pillow would lose
                return read_tiff(path, num_channels, dtype)
        deep = dtype != "uint8" and image.format == "PNG" and data[24] == 16 and not mode.startswith("I")
        scaled = min_side is not None and min(image.size) >= 2 * OVERSAMPLING * min_side
        if deep or (image.format == "JPEG" and not scaled and torchcodec() is not None):
            return to_format(_decode_fast(path, data, num_channels), num_channels, dtype), info
        if scaled:
            ratio = OVERSAMPLING * min_side / min(image.size)  # type: ignore[operator]
            image.draft(PILLOW_MODES.get(num_channels), (int(image.width * ratio), int(image.height * ratio)))
        return from_pillow(image, num_channels, dtype), info


def from_pillow(image: Image.Image, num_channels: int, dtype: str = "uint8") -> Tensor:
    """Convert a Pillow image to an upright tensor, shape (C, H, W)."""
    image, mode = ImageOps.exif_transpose(image), PILLOW_MODES.get(num_channels)
    if image.mode.startswith("I"):  # 16 bits: Pillow would cut them off at 255
        array = np.asarray(image).clip(0, 65535).astype(np.uint16)
    elif mode is None or image.mode == "F" or (mode.endswith("A") and not image.has_transparency_data):
        array = np.asarray(image)
    else:
        array = np.asarray(image.convert(mode))
    return from_array(array, num_channels, dtype)[0]


@cache
def torchcodec() -> Any:
    """Return torchcodec's decoder, or None where that package is not there or has no wheel for this system."""
    with contextlib.suppress(ImportError, OSError, RuntimeError):
        return import_module("torchcodec.decoders").decode_image


def _decode_fast(path: str, data: bytes, num_channels: int) -> Tensor:
    if (decode := torchcodec()) is None:
        raise UsageError(f"{path}: such an image needs the package torchcodec; write pip install torchcodec")
    return decode(data, mode={1: "GRAY", 3: "RGB"}.get(num_channels, "UNCHANGED"), output_dtype="auto")
