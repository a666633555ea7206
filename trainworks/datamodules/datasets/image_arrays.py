"""Arrays of any type and layout as images: what .npy and TIFF files hold, and what is given in Python."""

from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from trainworks.errors import UsageError

FLIPS = {2: (-1,), 3: (-2, -1), 4: (-2,), 6: (-1,), 7: (-2, -1), 8: (-2,)}  # by orientation; transposed first from 5 on


@dataclass
class ImageInfo:
    """Size and format of an image file, before it is resized."""

    width: int  # in pixels, after the rotation by EXIF
    height: int
    mode: str  # Pillow's name of the pixel format, such as RGB, L, CMYK or I;16; or "5 channels of uint16"
    orientation: int = 1  # of its EXIF data; 1 is upright


Decoded = tuple[Tensor, ImageInfo]  # pixels, shape (C, H, W), and what the file was


def upright(pixels: Tensor, orientation: int) -> Tensor:
    """Turn pixels, shape (..., H, W), as the orientation of their EXIF data asks for."""
    return (pixels.mT if orientation in range(5, 9) else pixels).flip(FLIPS.get(orientation, ()))


def from_array(array: np.ndarray, num_channels: int, dtype: str, orientation: int = 1) -> Decoded:
    """Return an image (H, W), (H, W, C) or (C, H, W) upright, as uint8 or float32, and the info of the array.

    For float32, 8 and 16 bits are scaled to [0, 1]. One channel is repeated for three, and three are made grey for one.
    """
    if not isinstance(array, np.ndarray) or array.ndim not in (2, 3) or array.dtype.kind not in "buif":
        got = f"{getattr(array, 'dtype', type(array).__name__)} of shape {np.shape(array)}"
        raise ValueError(f"an image is a file, Pillow image, array (H, W, C) or tensor (C, H, W), got {got}")
    array = array[None] if array.ndim == 2 else array
    if array.shape[2] == num_channels or (len(array) != num_channels and array.shape[2] <= len(array)):
        array = np.moveaxis(array, -1, 0)  # whose memory stays, which is resized faster
    number, own, is_scaled = len(array), array.dtype.name, array.dtype.name in ("uint8", "uint16")
    if dtype == "uint8" and not is_scaled:
        raise ValueError(f"dtype is uint8, its pixels are {own}; float32 takes them")
    if number != num_channels and {number, num_channels} != {1, 3}:
        raise ValueError(f"num_channels is {num_channels}, its shape (C, H, W) is {array.shape}")
    array = array.astype(array.dtype.newbyteorder("="), copy=not array.flags.writeable)  # as torch wants it
    pixels = functional.to_dtype(torch.from_numpy(array), getattr(torch, dtype), is_scaled)
    if dtype == "float32" and not pixels.isfinite().all():
        raise ValueError("some of its numbers are NaN or infinite")
    if number != num_channels:
        pixels = functional.rgb_to_grayscale(pixels) if number == 3 else pixels.repeat(3, 1, 1)
    pixels = upright(pixels, orientation) if orientation != 1 else pixels
    return pixels, ImageInfo(pixels.shape[-1], pixels.shape[-2], f"{number} channels of {own}", orientation)


def read_tiff(path: str, num_channels: int, dtype: str) -> Decoded:
    """Read a TIFF file with all its bits; its pages and bands are the channels."""
    try:
        with import_module("tifffile").TiffFile(path) as file:  # optional, as imagecodecs for most compressions
            series, orientation = file.series[0], int(file.pages[0].tags.valueof("Orientation", 1))
            array = np.moveaxis(series.asarray(), [series.axes.index(axis) for axis in "YX"], [-2, -1])
    except Exception as error:  # a damaged file raises anything
        if isinstance(error, ImportError) or "imagecodecs" in str(error):
            raise UsageError(f"{path}: such a TIFF needs packages; write pip install tifffile imagecodecs") from None
        raise ValueError(str(error) or type(error).__name__) from None
    return from_array(array.reshape(-1, *array.shape[-2:]), num_channels, dtype, orientation)
