import contextlib
import hashlib
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainworks.datamodules.annotations import IGNORED_CLASS
from trainworks.datamodules.datasets.array_dataset import ArrayDataset, unpack_name
from trainworks.datamodules.datasets.decode import UnreadableImage, readable
from trainworks.datamodules.datasets.image_dataset import ImageFiles
from trainworks.datamodules.datasets.image_format import ImageFormat
from trainworks.errors import UsageError, listed

UNKNOWN = 254  # in place of a class
COLOUR = 1 << 16  # is added to red, green and blue in 24 bits; other numbers have 16
ADVICE = """write --data.values '{background: 0, road: 7}' with all classes, or {road: [128, 64, 128]} for colours; \
JPEG files and smooth resizing mix values: masks are PNG files, resized to the nearest pixel"""


class MaskFiles(ImageFiles):
    """Images with masks; `masks` has their packed names, `table` the class of each number that `read_values` returns."""

    has_masks = True

    def __init__(self, root: str, index: ArrayDataset, form: ImageFormat, masks: Tensor, table: np.ndarray) -> None:
        super().__init__(root, index, form)
        self.masks, self.table = masks, table

    def paths(self, item: int) -> list[str]:
        """Return the paths of an image and its mask."""
        return [self.path(item), str(Path(self.root, unpack_name(self.masks[self._row(item)])))]

    def decode_mask(self, item: int) -> Tensor:
        """Return the class of each pixel."""
        path = self.paths(item)[1]
        values = read_values(path, len(self.table) > COLOUR + 1)
        classes = self.table.take(values, mode="clip")  # beyond its end is the last one, which is unknown
        if len(unknown := np.unique(values[classes == UNKNOWN])):
            raise UnreadableImage(f"{path}: no class has the value {shown(unknown.tolist())}; {ADVICE}")
        return torch.from_numpy(classes)

    def fingerprint(self) -> str:
        """Return a hash of the files and of what their values mean."""
        return super().fingerprint() + hashlib.sha256(self.table.data).hexdigest()


def table_of(values: Sequence[Any], ignored: Any) -> np.ndarray:
    """Return the class of each number that `read_values` may return, given the values of the classes."""
    with_colours = any(not isinstance(value, int) for value in values)
    table = np.full(COLOUR + (with_colours << 24) + 1, UNKNOWN, dtype=np.uint8)
    for number, value in ((IGNORED_CLASS, ignored), *enumerate(values)):
        table[min(number_of(value), len(table) - 1)] = number
    return table


def read_values(path: str, in_colours: bool) -> np.ndarray:
    """Return the number of each pixel's value, shape (H, W); of a palette's it is the index, or the colour's."""
    with readable(path), Image.open(path) as image:
        if len(image.getbands()) > 1 or (in_colours and image.mode == "P"):
            return np.asarray(number_of(np.moveaxis(np.asarray(image.convert("RGB")).astype(np.int32), 2, 0)))
        numbers = np.asarray(image)
        return numbers if numbers.dtype.kind == "u" else numbers.astype(np.uint32)  # those of one bit are truth values


def number_of(value: Any) -> Any:
    """Return one number for a value, or for colours of shape (3, ...); grey is a number too, not a colour."""
    if isinstance(value, int):
        return value
    red, green, blue = value
    return np.where((red == green) & (green == blue), red, COLOUR + red * 65536 + green * 256 + blue)[()]


def shown(numbers: Iterable[int]) -> str:
    """Return numbers of `read_values` as people write the values."""
    return listed(
        [str(n if n < COLOUR else [(n - COLOUR) >> bits & 255 for bits in (16, 8, 0)]) for n in map(int, numbers)]
    )


def find_values(masks: Sequence[str], num_threads: int, number: int | None, ignored: Any) -> list[int]:
    """Return the value of each class: 0 and another one, where all `masks` hold no more, else the classes' numbers.

    They begin with 0, or with 1 where 0 is ignored. If they are others, or some of an unknown `number` are missing, it
    is a UsageError. The ignored value is background's counterpart only where there is no third one.
    """
    ignored = number_of(ignored)
    first = int(ignored == 0)
    if number and number != 2:
        return [*range(first, first + number)]
    with ThreadPoolExecutor(num_threads) as pool:
        found = dict(zip(masks, pool.map(_values_in, masks), strict=True))
    values = set[int]().union(*found.values())
    others = values - {0, ignored} or values - {0}
    if len(others) == 1 and not first and (number or 0 in values):
        return [0, *others]
    wanted = [*range(first, first + min(number or max(others, default=0) + 1 - first, UNKNOWN + 1))]
    odd = values - {*wanted, ignored} or (not number and {*wanted} - values) or not 2 <= len(wanted) <= UNKNOWN
    if values and odd:
        where = next(path for path in masks if max(others or values) in found[path])
        held = f"the training masks hold {shown(sorted(values))}, the last of them {where}"
        more = "" if number else f"write data.num_classes, at most {UNKNOWN}, if some are missing; else "
        raise UsageError(f"{held}: no numbers of {number or 'all'} classes from {first} on; {more}{ADVICE}")
    return wanted


def _values_in(path: str) -> set[int]:
    with contextlib.suppress(UnreadableImage):  # which is named where it is decoded
        return {*np.unique(read_values(path, False)).tolist()}
    return set()


def read_names(root: Path) -> dict[str, Any]:
    """Return the value of each class where CVAT's labelmap.txt or Roboflow's _classes.csv states it."""
    names: dict[str, Any] = {}
    for path in (root / "labelmap.txt", root / "_classes.csv", root / "train/_classes.csv"):
        text = path.read_text(encoding="utf-8-sig") if path.is_file() else ""
        names |= {name: int(value) for value, name in re.findall(r"^(\d+) *, *(.*\S)", text, re.MULTILINE)}
        for name, *colour in re.findall(r"^([^#\n].*?):(\d+),(\d+),(\d+):", text, re.MULTILINE):
            names[name] = tuple(map(int, colour))
    return names
