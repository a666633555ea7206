"""Arrays from outside the data, of which `reader`, an InputReader, knows how those of the training were."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainworks.errors import UsageError


def is_several(reader: Any, given: Any) -> bool:
    """Whether what was given is not one input, but a list or a batch of them."""
    if not isinstance(given, list | tuple | np.ndarray | Tensor) or type(given).__name__ == reader.input_dtype:
        return False
    if reader.reads_images:
        return isinstance(given, list | tuple) or given.ndim == 4
    return _depth(given) > (1 if reader.input_shape is None else len(reader.input_shape))


def content_of(reader: Any, given: Any) -> Any:
    """Return the array in a .npy or .npz file, in this that of the name `inputs` if it has several; else `given`."""
    is_file = isinstance(given, str | Path) and Path(given).is_file()
    if not is_file or Path(given).suffix.lower() not in (".npy", ".npz"):
        return given
    try:
        array: Any = np.load(given, mmap_mode="c")
        if not isinstance(array, np.ndarray):
            with array as arrays:
                array = arrays[getattr(reader, "inputs", "inputs") if len(arrays) > 1 else next(iter(arrays))]
    except Exception as error:  # numpy raises errors of many kinds
        raise UsageError(f"{given}: cannot be read as an array: {str(error).splitlines()[0][:200]}") from None
    return _images(reader, array) if reader.reads_images else array


def to_numbers(reader: Any, source: Any) -> Tensor:
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
    if (
        not exact and numbers.is_complex() <= dtype.is_complex and torch.uint8 not in (numbers.dtype, dtype)
    ):  # whose values may have another scale
        exact = torch.can_cast(numbers.dtype, dtype) or torch.equal(numbers.to(dtype).to(numbers.dtype), numbers)
    if sizes != list(numbers.shape) or not exact:
        got = f"{numbers.dtype} of shape {tuple(numbers.shape)}".removeprefix("torch.")
        raise UsageError(f"{_wanted(dtype, shape)}, got {got}")
    return numbers.to(dtype)


def _images(reader: Any, array: Any) -> Tensor:
    """Return an image of any layout as (H, W) or (C, H, W), several as (N, C, H, W)."""
    array = torch.as_tensor(array)
    num_channels = reader.form.num_channels if reader.form else (reader.input_shape or [3])[0]
    if array.ndim < 3 or (array.ndim == 3 and len(array) == num_channels):
        return array
    if array.shape[-1] in (1, 3) and not (array.ndim == 4 and array.shape[1] in (1, 3)):
        return array.movedim(-1, -3)
    return array[:, None] if array.ndim == 3 else array


def _wanted(dtype: torch.dtype, shape: Sequence[int | None]) -> str:
    return f"an input must be {dtype} of shape {tuple(shape)}".replace("torch.", "").replace("None", "any")


def _depth(given: Any) -> float:
    """Return the number of dimensions of an array or of nested lists of numbers; infinity for lists of other things."""
    if isinstance(given, list | tuple):
        return 1 + (_depth(given[0]) if given else 0)
    return getattr(given, "ndim", 0 if isinstance(given, int | float | complex) else np.inf)
