import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainworks.datamodules.datasets.array_dataset import ArrayDataset, unpack_name
from trainworks.datamodules.datasets.decode import UnreadableImage, readable
from trainworks.datamodules.datasets.file_index import SPLIT_FOLDERS, find_images
from trainworks.datamodules.datasets.image_dataset import ImageFiles
from trainworks.datamodules.datasets.image_format import ImageFormat
from trainworks.errors import UsageError, listed

WORDS = dict.fromkeys(("images", "image", "imgs", "img", "jpegimages", "leftimg8bit"), "image")  # in folders' names
WORDS |= dict.fromkeys(("masks", "mask", "labels", "annotations", "trimaps", "segmentationclass", "gtfine"), "mask")
WORDS |= SPLIT_FOLDERS | {"training": "train", "testing": "test", "segmentationobject": "object"}  # which is neither
OF_IMAGE = re.compile(r"(?<![^/])(image|img)_|_(image|img|sat|leftImg8bit)$", re.I)  # what else a file's name holds
OF_MASK = re.compile(r"(?<![^/])(mask|seg)_|_(masks?|seg|segmentation|label|gt|(?-i:L)|gtFine_labelTrainIds)$", re.I)
NAMES = """a mask has the name of its image, such as a.jpg and a.png or a_mask.png, in a folder masks beside images; \
data.skip_unreadable true leaves single files out; export .json and .xml as masks, a PNG an image: CVAT's Segmentation \
mask 1.1, Roboflow's Semantic Segmentation Masks, labelme's labelme2voc.py; merge Label Studio's PNGs of an image"""
VALUES = """write --data.values '{background: 0, road: 7}' with all classes, or {road: [128, 64, 128]} for colours; \
JPEG files and smooth resizing mix values: masks are PNG files, resized to the nearest pixel"""
UNKNOWN = 254  # in place of a class
COLOUR = 1 << 16  # is added to red, green and blue in 24 bits; other numbers have 16


class MaskFiles(ImageFiles):
    """Images with masks, of which `masks` has the packed names; `values` are the ignored one and that of each class."""

    has_masks = True

    def __init__(self, root: str, index: ArrayDataset, form: ImageFormat, masks: Tensor, values: Sequence[Any]) -> None:
        super().__init__(root, index, form)
        self.masks, self.values, self.in_colours = masks, values, any(not isinstance(item, int) for item in values[1:])
        self._classes = np.full(COLOUR + (self.in_colours << 24) + 1, UNKNOWN, dtype=np.uint8)  # of each number
        for k, value in enumerate(values, start=-1):
            if 0 <= (number := number_of(value)) < len(self._classes) - 1:
                self._classes[number] = k % 256  # 255 for the ignored one

    def paths(self, item: int) -> list[str]:
        """Return the paths of an image and its mask."""
        return [self.path(item), str(Path(self.root, unpack_name(self.masks[self._row(item)])))]

    def decode_mask(self, item: int) -> Tensor:
        """Return the class of each pixel."""
        path = self.paths(item)[1]
        numbers = read_values(path, self.in_colours)
        classes = self._classes.take(numbers, mode="clip")  # the last one is unknown
        if len(unknown := np.unique(numbers[classes == UNKNOWN])):
            raise UnreadableImage(f"{path}: no class has the value {shown(unknown)}; {VALUES}")
        return torch.from_numpy(classes)

    def fingerprint(self) -> str:
        """Return a hash of the files, and what their values are."""
        return f"{super().fingerprint()} {self.values}"


def read_values(path: str, in_colours: bool) -> np.ndarray:
    """Return the number of each pixel's value, shape (H, W); of a palette's it is the index, or the colour's."""
    with readable(path), Image.open(path) as image:
        if len(image.getbands()) > 1 or (in_colours and image.mode == "P"):
            return np.asarray(number_of(np.moveaxis(np.asarray(image.convert("RGB")).astype(np.int32), 2, 0)))
        numbers = np.asarray(image)
        with np.errstate(invalid="ignore"):
            whole = numbers if numbers.dtype.kind == "u" else numbers.astype(np.uint16)  # one bit is a truth value
        if not np.array_equal(whole, numbers):
            raise ValueError(f"a mask holds whole numbers from 0 to 65535, got {numbers.min():g} to {numbers.max():g}")
        return whole


def number_of(value: Any) -> Any:
    """Return one number for a value, or for colours of shape (3, ...); grey is a number too, not a colour."""
    if isinstance(value, int):
        return value
    red, green, blue = value
    return np.where((red == green) & (green == blue), red, COLOUR + red * 65536 + green * 256 + blue)[()]


def shown(numbers: Iterable[int]) -> str:
    """Return numbers of `read_values` as people write the values."""
    return listed([str(n if n < COLOUR else [*(n - COLOUR).to_bytes(3)]) for n in map(int, numbers)])


def find_values(masks: Sequence[str], num_threads: int, number: int | None, ignored: Any) -> list[int]:
    """Return the value of each class: 0 and another one if all `masks` hold no more, else the numbers from 0 on.

    They begin with 1 where 0 is ignored. Others, and gaps where their `number` is unknown, are a UsageError.
    """
    first = int(ignored == 0)
    if number and number != 2:
        return [*range(first, first + number)]
    with ThreadPoolExecutor(num_threads) as pool:
        found = [*pool.map(lambda path: {*np.unique(read_values(path, False)).tolist()}, masks)]
    values = set[int]().union(*found)
    others = values - {0, ignored} or values - {0}
    if len(others) == 1 and not first and (number or 0 in values):
        return [0, *others]
    wanted = [*range(first, first + min(number or max(others, default=0) + 1 - first, UNKNOWN + 1))]
    if values - {*wanted, ignored} or (not number and {*wanted} - values) or not 2 <= len(wanted) <= UNKNOWN:
        last = max(others or values or {0})
        where = next(path for path, held in zip(masks, found, strict=True) if last in held)
        kind = f"{number} classes" if number else "all classes (write data.num_classes if only some are missing)"
        held = f"the masks hold {shown(sorted(values))}; {shown([last])} is in {where}"
        raise UsageError(f"{held}: these are not the numbers of {kind} from {first} on; {VALUES}")
    return wanted


def find_pairs(root: str, partial: bool) -> tuple[dict[str, list[tuple[str, str]]], list[str]]:
    """Return the images below `root` with their masks, by split ("all" if unknown), and remarks on what is left out.

    The names of folders, else of files, tell images from masks. Single files are left out if `partial`, else an error.
    """
    splits = dict[str, str]()  # of names, where lists as in Pascal VOC tell
    for file in Path(root).glob("ImageSets/Segmentation/*.txt"):
        if split := WORDS.get(file.stem.lower()):
            names = file.read_text(encoding="utf-8-sig").splitlines()
            splits |= {OF_IMAGE.sub("", name.strip()): split for name in names}
    places = {path: _place_of(path) for path in find_images(root)}
    kinds = {kind for kind, _, _ in places.values()}
    images, masks = dict[tuple[str, str], str](), dict[tuple[str, str], str]()  # paths by split and name
    for own, found in (("image", images), ("mask", masks)):
        for path, (kind, split, folder) in places.items():
            stem = Path(path).stem
            if own != (kind or _kind_by_name(stem, kinds)):
                continue
            stems = [stem, OF_MASK.sub("", stem)] if own == "mask" else [stem]
            names = [folder + OF_IMAGE.sub("", name) for name in stems]
            keys = [(splits.get(name, "") if splits else split, name) for name in names]
            key = next((key for key in keys if key in images), keys[-1])
            if key[0] and (first := found.setdefault(key, path)) != path:
                raise UsageError(f"data.root {root}: {first} and {path} have one name; keep one of them; {NAMES}")
    remarks = list[str]()
    for what, these, those in (("mask", images, masks), ("image", masks, images)):
        single = [path for key, path in these.items() if key not in those]
        remarks += [f"{len(single):,} files have no {what}: {listed(single)}"] if single else []
    if images.keys().isdisjoint(masks) or (remarks and not partial):
        raise UsageError(f"data.root {root}: {'; '.join(remarks) or 'no images'}; {NAMES}")
    pairs: dict[str, list[tuple[str, str]]] = {}
    for key in sorted(images.keys() & masks.keys()):
        pairs.setdefault(key[0], []).append((images[key], masks[key]))
    return pairs, remarks


def _place_of(path: str) -> tuple[str, str, str]:
    """Return what the folders of a file say: image or mask, the split, and the other folders."""
    kind, split, others = "", "all", ""
    for folder in path.split("/")[:-1]:
        words = [WORDS.get(word, "") for word in re.split("[ _-]", folder.lower())]
        if not all(words):
            others += f"{folder}/"
            continue
        for word in words:
            if word in ("image", "mask", "object"):
                kind = word
            else:
                split = word
    return kind, split, others


def _kind_by_name(stem: str, kinds: set[str]) -> str:
    """Return what a file is whose folders do not tell; nothing where there are folders of images."""
    if "mask" not in kinds and OF_MASK.search(stem):
        return "mask"
    return "" if "image" in kinds else "image"
