"""Inputs from outside the data: images and arrays, of which `reader`, an InputReader, knows how the training's were."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainworks.datamodules.datasets.array_dataset import channels_first
from trainworks.datamodules.datasets.file_index import EXTENSIONS, PackedNames, find_images, pack_names
from trainworks.errors import UsageError, first_line, no_such_file

ARRAY_FILES = (".npy", ".npz")


def split_inputs(reader: Any, given: Any) -> Sequence[Any]:
    """Return inputs for `read_input` one by one: files of a folder, items of a list, a batch or a file of arrays."""
    if isinstance(given, str | Path) and Path(given).is_dir():
        suffixes = reader.suffixes or (EXTENSIONS if reader.reads_images else ARRAY_FILES)
        names = pack_names(str(Path(given, name)) for name in find_images(str(given), suffixes=suffixes))
        if not len(names):
            kind = "images" if suffixes == EXTENSIONS else f"files {', '.join(suffixes)}"
            raise UsageError(f"{given}: no {kind} in this folder")
        return PackedNames(names)
    items = _content_of(reader, given)
    return items if _is_several(reader, items) else [given]


def read_input(reader: Any, source: Any) -> Any:
    """Return an input as the datasets hold it, before the transforms."""
    if isinstance(source, str | Path) and not Path(source).is_file():
        raise UsageError(f"{source}: {no_such_file(Path(source))}")
    form, shape = reader.form, reader.input_shape
    if not reader.reads_images:
        return _to_numbers(reader, _content_of(reader, source))
    from torchvision.transforms.v2 import functional  # arrays need neither

    from trainworks.datamodules.datasets.decode import decode_image

    if isinstance(source, str | Path) and Path(source).suffix.lower() == ".npz":
        source = _content_of(reader, source)
    if form is not None:
        image, info = decode_image(source, form.num_channels, form.size, form.dtype)
        return form.place(info.height, info.width).fit(image)
    image, _ = decode_image(source, (shape[0] if shape else None) or 3)
    if not shape or reader.any_size or None in shape or list(image.shape) == shape:
        return image
    return functional.resize(image, shape[1:], antialias=True)


def _is_several(reader: Any, given: Any) -> bool:
    """Whether what was given is not one input, but a list or a batch of them."""
    if not isinstance(given, list | tuple | np.ndarray | Tensor) or type(given).__name__ == reader.input_dtype:
        return False
    if reader.reads_images:
        return isinstance(given, list | tuple) or given.ndim == 4
    return _depth(given) > (1 if reader.input_shape is None else len(reader.input_shape))


def _content_of(reader: Any, given: Any) -> Any:
    """Return the array in a .npy or .npz file, in this that of the name `inputs` if it has several; else `given`."""
    is_file = isinstance(given, str | Path) and Path(given).is_file()
    if not is_file or Path(given).suffix.lower() not in ARRAY_FILES:
        return given
    try:
        array: Any = np.load(given, mmap_mode="c")
        if not isinstance(array, np.ndarray):
            with array as arrays:
                array = arrays[getattr(reader, "inputs", "inputs") if len(arrays) > 1 else next(iter(arrays))]
    except Exception as error:  # numpy raises errors of many kinds
        raise UsageError(f"{given}: cannot be read as an array: {first_line(error)}") from None
    return _images(reader, array) if reader.reads_images else array


def _to_numbers(reader: Any, source: Any) -> Tensor:
    """Return numbers of the type and shape of those that were trained on."""
    dtype = getattr(torch, reader.input_dtype or "float32", None)
    if not isinstance(dtype, torch.dtype):
        how = f"{type(reader).__name__} must say how one is read, by a method read(source)"
        raise UsageError(f"an input of this data is a {reader.input_dtype}; {how}")
    shape = reader.input_shape if reader.input_shape is not None else [getattr(reader, "num_features", None)]
    try:
        numbers = source if isinstance(source, Tensor) else torch.tensor(np.asarray(source))
    except (TypeError, ValueError):
        how = f"write the numbers or the path of an .npy file, got {source!r:.80}"
        raise UsageError(f"{_wanted(dtype, shape)}; {how}") from None
    sizes = [own if size is None else size for size, own in zip_longest(shape, numbers.shape, fillvalue=-1)]
    exact = numbers.dtype == dtype
    other_scale = torch.uint8 in (numbers.dtype, dtype)  # its values may have one
    if not exact and not other_scale and numbers.is_complex() <= dtype.is_complex:
        exact = torch.can_cast(numbers.dtype, dtype) or torch.equal(numbers.to(dtype).to(numbers.dtype), numbers)
    if sizes != list(numbers.shape) or not exact:
        got = f"{numbers.dtype} of shape {tuple(numbers.shape)}".removeprefix("torch.")
        raise UsageError(f"{_wanted(dtype, shape)}, got {got}")
    return numbers.to(dtype)


def _images(reader: Any, array: np.ndarray) -> Any:
    """Return an image of any layout as it is, several as (N, C, H, W)."""
    array = np.asarray(array, array.dtype.newbyteorder("="))  # torch takes no other
    number = reader.form.num_channels if reader.form else (reader.input_shape or [3])[0]
    is_one = number not in (1, 3) or len(array) == number or array.shape[-1] in (1, 3)
    return array if array.ndim < 3 or (array.ndim == 3 and is_one) else channels_first(torch.as_tensor(array), number)


def _wanted(dtype: torch.dtype, shape: Sequence[int | None]) -> str:
    return f"an input must be {dtype} of shape {tuple(shape)}".replace("torch.", "").replace("None", "any")


def _depth(given: Any) -> float:
    """Return the number of dimensions of an array or of nested lists of numbers; infinity for lists of other things."""
    if isinstance(given, list | tuple):
        return 1 + (_depth(given[0]) if given else 0)
    return getattr(given, "ndim", 0 if isinstance(given, int | float | complex) else np.inf)
