import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from trainworks.datamodules.datasets.array_dataset import ArrayDataset, unpack_name
from trainworks.datamodules.datasets.decode import UnreadableImage, readable
from trainworks.datamodules.datasets.image_dataset import ImageFiles
from trainworks.datamodules.datasets.image_format import ImageFormat
from trainworks.datamodules.masks import pixels_by_value
from trainworks.errors import UsageError, listed

NUMBERS = ("1", "L", "P", "I", "I;16", "I;16B")  # Pillow's modes with one number a pixel
COLOUR = 1 << 24  # is added to a colour that is no grey
UNKNOWN = 254  # in place of a class
ADVICE = (
    "--data.values '{background: 0, road: 7}' with all classes, or {road: [128, 64, 128]} for colours. JPEG files and "
    "smooth resizing make values in between: write masks as PNG files, resized to the nearest pixel"
)

Value = int | tuple[int, int, int]  # a number, or red, green and blue


class MaskFiles(ImageFiles):
    """Images with masks, all files below `root`; the masks' names are packed as those in the index are.

    `classes` has the class of each value that a mask may hold, see `read_values`.
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
        self.masks, self.class_of, self.in_colours = masks, dict(sorted(classes.items())), in_colours

    def paths(self, item: int) -> list[str]:
        """Return the paths of an image and its mask."""
        return [self.path(item), str(Path(self.root, unpack_name(self.masks[self._row(item)])))]

    def decode_mask(self, item: int) -> Tensor:
        """Return the class of each pixel."""
        path = self.paths(item)[1]
        values = read_values(path, self.in_colours)
        few = values.dtype == np.uint8  # values, so that a table of them has the class of each pixel
        classes = self._classify(np.arange(256))[values] if few else self._classify(values)
        if len(unknown := np.unique(values[classes == UNKNOWN])):
            raise UnreadableImage(f"{path}: no class has the value {shown(*unknown.tolist())}; write {ADVICE}")
        return torch.from_numpy(classes)

    def fingerprint(self) -> str:
        """Return a hash of the files, and what their values are."""
        return f"{super().fingerprint()} {self.class_of} {self.in_colours}"

    def _classify(self, values: np.ndarray) -> np.ndarray:
        known, classes = np.array([*self.class_of.items()]).T
        nearest = np.searchsorted(known, values).clip(max=len(known) - 1)
        return np.where(known[nearest] == values, classes[nearest], UNKNOWN).astype(np.uint8)


def read_values(path: str, in_colours: bool) -> np.ndarray:
    """Return the value of each pixel of a mask, shape (H, W), see `number_of`; of palettes the index, or `in_colours`."""
    with readable(path), Image.open(path) as image:
        if image.mode in NUMBERS and not (in_colours and image.mode == "P"):
            pixels = np.asarray(image)
            return pixels.astype(np.uint8) if pixels.dtype == bool else pixels
        return _number_of(*np.moveaxis(np.asarray(image.convert("RGB")).astype(np.int32), 2, 0))


def number_of(value: Value) -> int:
    """Return a value as a number; of a colour it is red where red, green and blue are the same, else above `COLOUR`."""
    return value if isinstance(value, int) else int(_number_of(*value))


def _number_of(red: Any, green: Any, blue: Any) -> Any:
    return np.where((red == green) & (green == blue), red, COLOUR + red * 65536 + green * 256 + blue)


def shown(*numbers: int) -> str:
    """Return numbers of values as people write these."""
    return listed([str(n if n < COLOUR else [n >> bits & 255 for bits in (16, 8, 0)]) for n in numbers])


def count_values(masks: Sequence[str], in_colours: bool, num_threads: int) -> Counter[float]:
    """Count the pixels of each value; masks that cannot be read are named where they are decoded."""

    def count(path: str) -> Counter[float]:
        try:
            return pixels_by_value(read_values(path, in_colours))
        except UnreadableImage:
            return Counter()

    with ThreadPoolExecutor(num_threads) as pool:
        counts = tqdm(pool.map(count, masks), "masks", len(masks), delay=2, disable=None, leave=False)
        return sum(counts, Counter[float]())


def number_classes(pixels: Counter[float], number: int | None, ignored: int) -> dict[int, int]:
    """Return the class of each value: 0 and another one alone are background and object, others are classes' numbers.

    Numbers begin with 0, or with 1 where 0 is ignored. Where 0 and the ignored value are alone, this is the object's.
    Values that are none of `number` classes, or leave some out where it is None, are a UsageError.
    """
    first, values = int(ignored == 0), sorted(map(int, pixels))
    others = [value for value in values if value not in (0, ignored)] or [value for value in values if value]
    if len(others) == 1 and not first and number in (None, 2) and (0 in pixels or number):
        return {0: 0, others[0]: 1}
    last = max(others, default=0)
    wanted = range(first, first + min(number or last + 1 - first, UNKNOWN))
    wrong = [value for value in values if value not in wanted and value != ignored]
    if values and (wrong or len(wanted) < 2 or not (number or {*wanted} <= pixels.keys())):
        kind = f"numbers of {number} classes" if number else f"classes numbered without gaps, {UNKNOWN} at most,"
        more = "" if number or last > UNKNOWN else f"data.num_classes {len(wanted)} if other masks hold the rest, or "
        raise UsageError(
            f"training masks hold {shown(*wrong or values)}, no {kind} from {first} on; write {more}{ADVICE}"
        )
    return {value: value - first for value in wanted}


def read_names(root: Path) -> dict[str, Value]:
    """Return the value of each class where CVAT's labelmap.txt or Roboflow's _classes.csv states it."""
    names: dict[str, Value] = {}
    for path in (root / "labelmap.txt", root / "_classes.csv", root / "train/_classes.csv"):
        text = path.read_text(encoding="utf-8-sig") if path.is_file() else ""
        names |= {name: int(value) for value, name in re.findall(r"^(\d+) *, *(.*\S)", text, re.MULTILINE)}
        for name, *colour in re.findall(r"^([^#\n].*?):(\d+),(\d+),(\d+):", text, re.MULTILINE):
            names[name] = (int(colour[0]), int(colour[1]), int(colour[2]))
    return names
