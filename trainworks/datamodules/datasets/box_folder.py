import os
import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from yaml import YAMLError

from trainworks.datamodules.datasets.array_dataset import ArrayDataset
from trainworks.datamodules.datasets.boxes import Boxes
from trainworks.datamodules.datasets.decode import size_of
from trainworks.datamodules.datasets.file_index import EXTENSIONS, SPLIT_FOLDERS, find_images, pack_names
from trainworks.datamodules.datasets.image_format import ImageFormat
from trainworks.errors import UsageError, first_line, listed

MAX_BYTES = {".json": 4_000_000_000}  # of a file of annotations; of any other kind 20 MB
WRONG = (AttributeError, ArithmeticError, LookupError, OSError, RecursionError, SyntaxError, TypeError, ValueError)


class Annotated(NamedTuple):
    """What annotations say of an image."""

    name: str
    source: str  # the file that says so
    boxes: Iterable[Any]  # in its own form
    size: Sequence[float] = (0, 0)  # height and width; 0 where it does not say


class BoxFolder:
    """The images of a folder and their boxes, as read_boxes (box_formats.py) finds them.

    Annotations name images as they lay on another machine; none outside of the folder is read.
    """

    def __init__(self, root: str) -> None:
        suffixes = (*EXTENSIONS, ".json", ".xml", ".txt", ".yaml", ".yml")
        self.root, self.files = root, list(find_images(root, suffixes=suffixes))
        self.splits: dict[str, dict[str, Any]] = defaultdict(dict)  # size and boxes by image; one may be called "all"
        self.category_ids: dict[str, Any] = {}  # the files' own numbers of the classes, by name
        self.image_ids: dict[str, Any] = {}  # and of the images, by path
        self.faults: list[str] = []  # what is wrong with which file or box; all that is left out
        self.num_ignored, self.cut = 0, list[str]()  # crowds and difficult boxes; boxes that reach out of their image
        self.images = self.ending(*EXTENSIONS)
        self._called = defaultdict(list)  # images by name, without folder and ending
        for path in self.images:
            self._called[_parts(path)[0]].append(path)

    def ending(self, *suffixes: str) -> list[str]:
        """Return the files whose path ends so."""
        return [path for path in self.files if path.lower().endswith(suffixes)]

    def parse(self, path: str, parser: Callable[[bytes], Any]) -> Any:
        """Return what a parser makes of a file of bounded size."""
        file = Path(self.root, path)
        try:
            if (size := file.stat().st_size) > (limit := MAX_BYTES.get(file.suffix.lower(), 20_000_000)):
                raise ValueError(f"it has {size:,} bytes, more than {limit:,}")
            return parser(file.read_bytes())
        except (*WRONG, YAMLError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else first_line(error)
            raise UsageError(f"{path}: cannot be read as annotations: {what}") from None

    def add(self, split: str, item: Annotated, read_box: Callable[[Any, int, int], Any]) -> str | None:
        """Add an image to a split and return its path, None where it is not there or another than was annotated.

        `read_box` returns class and corners of a box in an image of this height and width, None if it is ignored.
        """
        try:
            path = self._find(item.name, item.source)
            height, width = size = size_of(os.path.join(self.root, path))
            if all(item.size) and tuple(item.size) != size:
                raise UsageError(f"{path} has {width}x{height} pixels, not {item.size[1]:g}x{item.size[0]:g}")
            if path in self.splits[split]:
                raise UsageError(f"{path} stands there twice")
        except UsageError as error:
            self.faults.append(f"{item.source}: {error}")
            return None
        rows, labels = array("d"), {name: number for number, name in enumerate(self.category_ids, start=1)}
        for number, raw in enumerate(item.boxes, start=1):
            try:
                if (box := read_box(raw, *size)) is None:
                    self.num_ignored += 1
                    continue
                row = labels[box[0]], *box[1]
                left, top, right, bottom = row[1:]
                where = f"{', '.join(f'{corner:g}' for corner in row[1:])} of {width}x{height} pixels"
                if not (max(left, 0) < min(right, width) and max(top, 0) < min(bottom, height) and isfinite(sum(row))):
                    raise ValueError(f"no width or height at {where}")
                if min(left, top, width - right, height - bottom) < -1:  # less is rounding
                    self.cut.append(f"box {number} of {path} ({where})")
                rows.extend(row)
            except WRONG as error:
                what = f"no class or value {error}" if isinstance(error, KeyError) else first_line(error)
                self.faults.append(f"{item.source}: box {number} of {path}: {what}")
        self.splits[split][path] = size, rows
        return path

    def index(self, split: str, form: ImageFormat) -> ArrayDataset:
        """Return names and Boxes of the images of a split, these as the images are made of a format."""
        names = sorted(self.splits[split])
        sizes, rows = zip(*(self.splits[split][name] for name in names), strict=True)
        table = torch.from_numpy(np.concatenate(rows)).reshape(-1, 5)
        counts = torch.tensor([len(row) // 5 for row in rows])
        boxes: Any = Boxes(counts, table[:, 1:].float(), table[:, 0].long(), torch.tensor(sizes)).fitted(form)
        packed = pack_names(names)
        return ArrayDataset(packed, boxes, names=packed, classes=["background", *self.category_ids])

    @property
    def left_out(self) -> str:
        """Say what is in no split, though nothing is wrong with it."""
        others = sorted({*self.images}.difference(*self.splits.values()))
        lines = {
            f"{len(self.cut):,} boxes reach out of their image and are cut off there: {listed(self.cut, 3)}": self.cut,
            f"{self.num_ignored:,} crowds or difficult boxes are left out": self.num_ignored,
            f"{len(others):,} images stand in no annotations and are left out: {listed(others, 3)}": others,
        }
        return "\n".join(line for line, there in lines.items() if there)

    def _find(self, name: str, source: str) -> str:
        """Return the image that a file means: of this name, with any ending, in the most similar folder.

        An image in a folder of another split than the file's is not meant.
        """
        parts, similar = _parts(name), defaultdict(list)
        own = split_of(os.path.dirname(name)) or split_of(source)
        for path in self._called.get(parts[0], ()):
            of = split_of(os.path.dirname(path))
            if None in (of, own) or of == own:
                same = len([*takewhile(lambda pair: pair[0] == pair[1], zip(parts, _parts(path), strict=False))])
                similar[same, of == own, path.endswith(os.path.splitext(name)[1])].append(path)
        found = similar[max(similar)] if similar else []
        if len(found) != 1:
            raise UsageError(f"image {name} {f'may be {found[0]} or {found[1]}' if found else 'is not there'}")
        return found[0]


def split_of(path: str) -> str | None:
    """Return the split that a word of a path names, as in images/train2017."""
    words = re.findall("[a-z]+", path.lower())
    return next((SPLIT_FOLDERS[word] for word in words if word in SPLIT_FOLDERS), None)


def _parts(path: str) -> list[str]:
    """Return the parts of a path of any system from its end on, without the file's ending."""
    return re.split(r"[/\\]", re.sub(r"\.\w+$", "", path))[::-1]
