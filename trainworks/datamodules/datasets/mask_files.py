import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainworks.datamodules.datasets.array_dataset import ArrayDataset, unpack_name
from trainworks.datamodules.datasets.decode import UnreadableImage, readable
from trainworks.datamodules.datasets.image_dataset import ImageFiles
from trainworks.datamodules.datasets.image_format import ImageFormat
from trainworks.errors import UsageError, listed

UNKNOWN = 254  # in place of a class
COLOUR = 1 << 16  # is added to red, green and blue in 24 bits: other numbers have 16
ADVICE = (
    "--data.values '{background: 0, road: 7}' with all classes, or {road: [128, 64, 128]} for colours. JPEG files and "
    "smooth resizing make values in between: write masks as PNG files, resized to the nearest pixel"
)

Value = int | tuple[int, int, int]  # of the pixels of a class; a colour is red, green and blue


class MaskFiles(ImageFiles):
    """Images with masks, all files below `root`.

    `masks` has packed names as the index has, `classes` the class of each number of `read_values`.
    """

    has_masks = True

    def __init__(
        self,
        root: str,
        index: ArrayDataset,
        masks: Tensor,
        form: ImageFormat,
        classes: dict[int, int],
        in_colours: bool,
    ) -> None:
        super().__init__(root, index, form)
        self.masks, self.classes_by_number, self.in_colours = masks, classes, in_colours
        self._table = np.full(COLOUR + (in_colours << 24) + 1, UNKNOWN, dtype=np.uint8)
        self._table[[*classes]] = [*classes.values()]

    def paths(self, item: int) -> list[str]:
        """Return the paths of an image and its mask."""
        return [self.path(item), str(Path(self.root, unpack_name(self.masks[self._row(item)])))]

    def decode_mask(self, item: int) -> Tensor:
        """Return the class of each pixel."""
        path = self.paths(item)[1]
        numbers = read_values(path, self.in_colours)
        classes = self._table.take(numbers, mode="clip")  # the last one is unknown
        if (unknown := classes == UNKNOWN).any():
            raise UnreadableImage(
                f"{path}: no class has the value {shown(*np.unique(numbers[unknown]))}; write {ADVICE}"
            )
        return torch.from_numpy(classes)

    def fingerprint(self) -> str:
        """Return a hash of the files, and what their values are."""
        return f"{super().fingerprint()} {self.classes_by_number} {self.in_colours}"


def read_values(path: str, in_colours: bool) -> np.ndarray:
    """Return the value of each pixel of a mask as a number, shape (H, W); of a palette the index, or `in_colours`."""
    with readable(path), Image.open(path) as image:
        if len(image.getbands()) > 1 or (in_colours and image.mode == "P"):
            return _number_of(*np.moveaxis(np.asarray(image.convert("RGB")).astype(np.int32), 2, 0))
        numbers = np.asarray(image)
        return numbers if numbers.dtype.kind == "u" else numbers.astype(np.uint32)  # of one bit are truth values


def number_of(value: Value) -> int:
    """Return a value as one number; colours of three equal parts are grey, and that is a number."""
    return value if isinstance(value, int) else int(_number_of(*value))


def _number_of(red: Any, green: Any, blue: Any) -> Any:
    return np.where((red == green) & (green == blue), red, COLOUR + red * 65536 + green * 256 + blue)


def shown(*numbers: int) -> str:
    """Return numbers of values as people write the values."""
    parts = [[(number - COLOUR) >> bits & 255 for bits in (16, 8, 0)] for number in numbers]
    return listed([str(part if number >= COLOUR else number) for part, number in zip(parts, numbers, strict=True)])


def number_classes(masks: Sequence[str], num_threads: int, number: int | None, ignored: int) -> dict[int, int]:
    """Return the class of each value, where nothing names them: their own number, from 0, or from 1 if 0 is ignored.

    Where all `masks` together hold 0 and another value, these are background and object; the ignored value is it only
    if there is no other. Values that are no classes, or leave out some of an unknown `number`, are a UsageError.
    """
    first = int(ignored == 0)
    if number and number != 2:
        return {first + k: k for k in range(number)}
    with ThreadPoolExecutor(num_threads) as pool:
        found = list(pool.map(_numbers_in, masks))
    values = set[int]().union(*found)
    others = values - {0, ignored} or values - {0}
    if len(others) == 1 and not first and (0 in values or number):
        return {0: 0, others.pop(): 1}
    wanted = range(first, first + min(number or max(others, default=0) + 1 - first, UNKNOWN + 1))
    wrong, missing = values - {*wanted, ignored}, {*wanted} - values
    if values and (wrong or not 2 <= len(wanted) <= UNKNOWN or (missing and not number)):
        place = next(path for path, numbers in zip(masks, found, strict=True) if max(wrong or values) in numbers)
        held = f"the training masks hold {shown(*sorted(values))} ({shown(max(wrong or values))} in {place})"
        kind = f"numbers of {number} classes" if number else f"numbers of up to {UNKNOWN} classes without gaps"
        more = "" if wrong or number else f"data.num_classes {len(wanted)} if other masks hold the rest, or "
        raise UsageError(f"{held}, which are no {kind} from {first} on; write {more}{ADVICE}")
    return {value: value - first for value in wanted}


def _numbers_in(path: str) -> set[int]:
    """Return the numbers in a mask; one that cannot be read is named where it is decoded."""
    try:
        return {*np.unique(read_values(path, False)).tolist()}
    except UnreadableImage:
        return set()


def read_names(root: Path) -> dict[str, Value]:
    """Return the value of each class where CVAT's labelmap.txt or Roboflow's _classes.csv states it."""
    names: dict[str, Value] = {}
    for path in (root / "labelmap.txt", root / "_classes.csv", root / "train/_classes.csv"):
        text = path.read_text(encoding="utf-8-sig") if path.is_file() else ""
        names |= {name: int(value) for value, name in re.findall(r"^(\d+) *, *(.*\S)", text, re.MULTILINE)}
        for name, *colour in re.findall(r"^([^#\n].*?):(\d+),(\d+),(\d+):", text, re.MULTILINE):
            names[name] = (int(colour[0]), int(colour[1]), int(colour[2]))
    return names
