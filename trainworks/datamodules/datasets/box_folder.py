import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from math import isfinite
from pathlib import Path
from typing import Any

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


class BoxFolder:
    """The images of a folder and their boxes, as read_boxes (box_formats.py) finds them.

    Annotations name images as they lay on another machine; none outside of the folder is read.
    """

    def __init__(self, root: str, form: ImageFormat, class_names: list[str] | None = None) -> None:
        self.root, self.form, self._class_names = root, form, class_names
        self.files = [*find_images(root, suffixes=(*EXTENSIONS, ".json", ".xml", ".txt", ".names", ".yaml", ".yml"))]
        self.splits: dict[str, dict[str, Any]] = defaultdict(dict)  # boxes by image; one may be called "all"
        self.category_ids: dict[str, Any] = {}  # the files' own numbers of the classes, by name
        self.image_ids: dict[str, Any] = {}  # and of the images, by path
        self.faults: list[str] = []  # what is wrong with which file or box, which is left out
        self.cut: list[str] = []  # boxes that reach out of their image
        self.num_ignored = 0  # crowds and difficult boxes
        self.images, self._named, self._called = self.ending(*EXTENSIONS), set[str](), defaultdict(list)
        for path in self.images:
            self._called[_parts(path)[0]].append(path)

    @property
    def classes(self) -> list[str]:
        """The classes in the order of their labels: those that were given, else those of the annotations."""
        return self._class_names or ["background", *self.category_ids]

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
            raise UsageError(f"{path}: cannot be read as annotations: {_reason(error)}") from None

    def add(
        self, split: str, name: str, source: str, boxes: Iterable[Any], read_box: Any, stated: Sequence[float] = (0, 0)
    ) -> str | None:
        """Add what the file `source` says of an image; return its path, None where it is not there or another.

        `read_box` returns class and corners of a box in an image of a height and width, None if it is to be ignored.
        `stated` are height and width in the annotations, or 0.
        """
        try:
            path = self._find(name, source)
            size = size_of(os.path.join(self.root, path), self.form.num_channels, self.form.dtype)
            if path in self.splits[split]:
                raise UsageError(f"{path} stands there twice")
            if all(stated) and tuple(stated) != size:
                raise UsageError(f"{path} has {size[1]}x{size[0]} pixels (upright), not {stated[1]:g}x{stated[0]:g}")
        except UsageError as error:
            return self.faults.append(f"{source}: {error}")  # type: ignore[func-returns-value]
        table = torch.tensor(self._rows(path, source, size, boxes, read_box), dtype=torch.float64).reshape(-1, 5)
        fitted = self.form.place(*size).fit_boxes(table[:, 1:].float()).clamp(0, self.form.size)
        kept = (fitted[:, :2] < fitted[:, 2:]).all(dim=1)  # an image may be cropped
        self.splits[split][path] = fitted[kept], table[kept, 0].long()
        return path

    def _rows(self, path: str, source: str, size: tuple[int, int], boxes: Iterable[Any], read_box: Any) -> list[Any]:
        """Return label and corners within the image of each box that is right."""
        rows, labels = [], {name: label for label, name in enumerate(self.classes) if label}
        edges = (size[1], size[0]) * 2
        for number, raw in enumerate(boxes, start=1):
            try:
                if (box := read_box(raw, *size)) is None:
                    self.num_ignored += 1
                    continue
                label, corners = labels[box[0]], box[1]
                cut = [min(max(corner, 0.0), edge) for corner, edge in zip(corners, edges, strict=True)]
                if not (cut[0] < cut[2] and cut[1] < cut[3] and isfinite(sum(corners))):
                    raise ValueError(f"no width or height at {_shown(corners, size)}")
                if max(abs(old - new) for old, new in zip(corners, cut, strict=True)) > 1:  # more than rounding
                    self.cut.append(f"box {number} of {path} ({_shown(corners, size)})")
                rows.append((label, *cut))
            except WRONG as error:
                self.faults.append(f"{source}: box {number} of {path}: {_reason(error)}")
        return rows

    def index(self, split: str) -> ArrayDataset:
        """Return names and Boxes of the images of a split."""
        names = sorted(self.splits[split])
        corners, labels = zip(*(self.splits[split][name] for name in names), strict=True)
        boxes: Any = Boxes(torch.tensor([len(part) for part in labels]), torch.cat(corners), torch.cat(labels))
        return ArrayDataset(packed := pack_names(names), boxes, names=packed, classes=self.classes)

    @property
    def left_out(self) -> str:
        """Say what is in no split, though nothing is wrong with it."""
        others = sorted({*self.images} - self._named)
        cut = f"boxes that reach out of their image, cut off there: {len(self.cut):,} ({listed(self.cut, 3)})\n"
        ignored = f"crowds or difficult boxes, left out: {self.num_ignored:,}\n"
        unnamed = f"images in no annotations, left out: {len(others):,} ({listed(others, 3)})"
        return (cut * bool(self.cut) + ignored * bool(self.num_ignored) + unnamed * bool(others)).rstrip()

    def _find(self, name: str, source: str) -> str:
        """Return the image of a name, with any ending, in the most similar folder, but none of another split."""
        parts, own = _parts(name), split_of(os.path.dirname(name)) or split_of(source)
        similar: dict[Any, list[str]] = defaultdict(list)
        for path in self._called.get(parts[0], ()):
            if (of := split_of(os.path.dirname(path))) == own or None in (of, own):
                same = [*takewhile(lambda pair: pair[0] == pair[1], zip(parts, _parts(path), strict=False))]
                similar[len(same), of == own, path.endswith(os.path.splitext(name)[1])].append(path)
        found = similar[max(similar)] if similar else []
        if len(found) != 1:
            raise UsageError(f"image {name} {f'may be {found[0]} or {found[1]}' if found else 'is not there'}")
        self._named.add(found[0])
        return found[0]


def split_of(path: str) -> str | None:
    """Return the split that a word of a path names, as in images/train2017."""
    words = re.findall("[a-z]+", path.lower())
    return next((SPLIT_FOLDERS[word] for word in words if word in SPLIT_FOLDERS), None)


def _shown(corners: list[float], size: tuple[int, int]) -> str:
    return f"{', '.join(f'{corner:g}' for corner in corners)} of {size[1]}x{size[0]} pixels"


def _reason(error: BaseException) -> str:
    return f"{error} is missing or unknown" if isinstance(error, KeyError) else first_line(error)


def _parts(path: str) -> list[str]:
    """Return the parts of a path of any system from its end on, without the file's ending."""
    return re.split(r"[/\\]", re.sub(r"\.\w+$", "", path))[::-1]
