"""Decode image files to tensors, with the fastest decoder for their size."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision import io as tvio
from torchvision.transforms.v2 import functional

from trainworks.errors import UsageError

PILLOW_MODES = {1: "L", 3: "RGB"}
DECODING_ERRORS = (OSError, ValueError, RuntimeError, SyntaxError, Image.DecompressionBombError)
ORIENTATION_TAG = 0x0112  # of EXIF; 1 is upright, those from 5 on are transposed
FLIPS = {2: (-1,), 3: (-2, -1), 4: (-2,), 5: (), 6: (-1,), 7: (-2, -1), 8: (-2,)}  # of each orientation, after that
OVERSAMPLING = 2  # a JPEG is decoded at a smaller scale only if that still has twice the height and width wanted


class UnreadableImage(UsageError):
    """An image file that cannot be decoded whole."""


@dataclass
class ImageInfo:
    """Size and format of an image file, before it is resized."""

    width: int  # in pixels, after the rotation by EXIF
    height: int
    mode: str  # Pillow's name of the pixel format, such as RGB, L, CMYK or I;16
    orientation: int = 1  # of its EXIF data; 1 is upright


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn any error of a decoder into an UnreadableImage that names the image."""
    try:
        yield
    except DECODING_ERRORS as error:
        reason = str(error).replace("\n", " ").removeprefix("decode_jpeg, ").partition(" <_io.")[0]  # an address
        raise UnreadableImage(f"{name}: cannot be read as an image: {reason[:200]}") from None


def decode_image(path: str, num_channels: int = 3, min_side: int | None = None) -> tuple[Tensor, ImageInfo]:
    """Read an image upright, as uint8 with 1 or 3 channels; 16 bits are scaled to 8, transparency is dropped.

    Pillow and torchvision decode a JPEG to the same pixels. torchvision is faster, unless the image is so large that
    libjpeg can decode it at a half, a quarter or an eighth of its size, which only Pillow offers. `min_side` is the
    shorter side that is wanted in the end; a large JPEG is decoded at a smaller scale of at least twice that side. A
    file that is missing, empty, truncated or no image is an UnreadableImage.
    """
    with readable(path):
        data = Path(path).read_bytes()
        if not data:
            raise ValueError("the file is empty")
        with Image.open(io.BytesIO(data)) as image:
            width, height, mode = *image.size, image.mode
            orientation = image.getexif().get(ORIENTATION_TAG, 1)
            if orientation in (5, 6, 7, 8):
                width, height = height, width
            info = ImageInfo(width, height, mode, orientation)
            scaled = min_side is not None and min(image.size) >= 2 * OVERSAMPLING * min_side
            if image.format == "JPEG" and not scaled and hasattr(tvio, "decode_jpeg"):  # which is deprecated
                encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
                wanted = tvio.ImageReadMode.GRAY if num_channels == 1 else tvio.ImageReadMode.RGB
                return tvio.decode_jpeg(encoded, mode=wanted, apply_exif_orientation=True), info
            if scaled:
                ratio = OVERSAMPLING * min_side / min(image.size)  # type: ignore[operator]
                image.draft(PILLOW_MODES[num_channels], (int(image.width * ratio), int(image.height * ratio)))
            return from_pillow(image, num_channels), info


def size_of(path: str) -> tuple[int, int]:
    """Return height and width of an image file once it is upright; only the beginning of the file is read."""
    with readable(path), Image.open(path) as image:
        return image.size if image.getexif().get(ORIENTATION_TAG, 1) in (5, 6, 7, 8) else image.size[::-1]


def read_image(source: Any, num_channels: int = 3, min_side: int | None = None) -> tuple[Tensor, ImageInfo]:
    """Read a file as `decode_image` does, or a Pillow image, array (H, W, C) or tensor (C, H, W) of uint8."""
    if isinstance(source, str | Path):
        return decode_image(str(source), num_channels, min_side)
    if isinstance(source, Tensor):
        source = (source.movedim(0, -1) if source.ndim == 3 else source).cpu().numpy()
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim not in (2, 3) or source.shape[2:] not in ((), (1,), (3,)):
            got = f"got {source.dtype} of shape {source.shape}, channels last"
            raise UnreadableImage(f"an image must be uint8, an array (H, W, C) or a tensor (C, H, W), C 1 or 3; {got}")
        source = Image.fromarray(source.squeeze(2) if source.shape[2:] == (1,) else source)
    if not isinstance(source, Image.Image):
        got = type(source).__name__
        raise UnreadableImage(f"an image must be a path, a Pillow image, an array or a tensor; got {got}")
    pixels = from_pillow(source, num_channels)
    return pixels, ImageInfo(pixels.shape[-1], pixels.shape[-2], source.mode)


def upright(pixels: Tensor, orientation: int) -> Tensor:
    """Turn pixels, shape (..., H, W), as the orientation of their EXIF data asks for."""
    return (pixels.mT if orientation >= 5 else pixels).flip(FLIPS.get(orientation, ()))


def from_pillow(image: Image.Image, num_channels: int) -> Tensor:
    """Convert a Pillow image to an upright tensor of uint8, shape (C, H, W)."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits: Pillow would cut them off at 255
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(max=255).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; convert it to 8 or 16 bits")
    return functional.pil_to_tensor(image.convert(PILLOW_MODES[num_channels]))  # channels last, which is resized faster
