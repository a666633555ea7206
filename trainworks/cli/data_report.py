"""What the data of a configuration is, and all that is wrong with it, for the command check."""

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset
from tqdm import tqdm

from trainworks.cli.facts import build_data
from trainworks.datamodules.annotations import class_names_of, classes_of
from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.datasets.decode import ImageInfo, UnreadableImage
from trainworks.datamodules.datasets.image_cache import chunks
from trainworks.datamodules.datasets.image_dataset import ImageDataset, ImageFiles
from trainworks.datamodules.splits import check_labels
from trainworks.errors import UsageError
from trainworks.runs.yaml_files import Config

BAR: Any = {"unit": " samples", "disable": None, "leave": False}
Report = dict[str, list[str]]  # "problems", which should be mended, and "notes" of what is dealt with


def report_data(config: Config) -> int:
    """Print what the data is and what is wrong with it, not looking at the model; return 0 if nothing is, else 1."""
    datamodule = build_data(config)
    if not isinstance(datamodule, BaseDataModule):
        raise UsageError(f"check reads subclasses of BaseDataModule, got {type(datamodule).__name__}")
    seen: dict[bytes, str] = {}
    splits, report = datamodule.divide(datamodule.load_splits()), Report(notes=[], problems=[])
    for name, dataset in splits.items():
        if isinstance(dataset, IterableDataset):
            report["notes"].append(f"{name}: an iterable data set has no length and was not read")
        elif isinstance(dataset, ImageDataset):
            _check_images(name, dataset, datamodule.num_cores, report, seen)
        else:
            _check_samples(name, dataset, report)
    _check_classes(splits, datamodule, report)
    report["notes"] += [left_out] if (left_out := getattr(datamodule, "left_out", "")) else []
    for title, lines in report.items():
        if lines:
            title = title if len(lines) > 1 else title.removesuffix("s")
            print(f"\n{len(lines)} {title}:" + "".join(f"\n  {line}" for line in lines))
    print("\nno problems" if not report["problems"] else "")
    return 1 if report["problems"] else 0


def _check_images(split: str, images: ImageDataset, num_threads: int, report: Report, seen: dict[bytes, str]) -> None:
    """Decode every image, and compare the files with those of the stages before."""
    infos: list[ImageInfo] = []
    copies: list[str] = []

    def look(item: int) -> tuple[ImageInfo, bytes] | UnreadableImage:
        """Return what is known of an image and the hash of its file, if it is one."""
        try:
            info = images.decode(item)[1]
        except UnreadableImage as error:
            return error
        if not isinstance(images, ImageFiles):
            return info, b""
        with open(images.path(item), "rb") as file:
            return info, hashlib.file_digest(file, "blake2b").digest()

    with ThreadPoolExecutor(num_threads) as pool:
        looks = chain.from_iterable(pool.map(lambda items: [look(item) for item in items], chunks(len(images))))
        for item, found in enumerate(tqdm(looks, split, len(images), **BAR)):
            if isinstance(found, UnreadableImage):
                report["problems"].append(str(found))
                continue
            info, digest = found
            infos.append(info)
            name = f"{split}: {images.name(item)}"
            if digest and not seen.setdefault(digest, name).startswith(split.partition("/")[0]):
                copies.append(f"{name} is the same file as {seen[digest]}")
    if infos:
        widths, heights = np.array([(info.width, info.height) for info in infos]).T
        ranges = [f"{sides.min()} to {sides.max()} (median {int(np.median(sides))})" for sides in (widths, heights)]
        made = f"each is made {images.form.size}x{images.form.size}"
        print(f"{split}: {len(infos):,} images, width {ranges[0]}, height {ranges[1]}; {made}")
    wanted = "L" if images.form.num_channels == 1 else "RGB"
    modes = Counter(info.mode for info in infos if info.mode != wanted)
    report["notes"] += [f"{split}: {count:,} images of mode {mode}, made {wanted}" for mode, count in modes.items()]
    if rotated := sum(info.rotated for info in infos):
        report["notes"].append(f"{split}: {rotated:,} images turned upright by their EXIF data")
    report["problems"] += copies[:10] + ([f"and {len(copies) - 10} more copies"] if len(copies) > 10 else [])


def _check_samples(split: str, dataset: Dataset[Any], report: Report) -> None:
    """Read every sample, and look for numbers that are none."""
    length: int = len(dataset)  # type: ignore[arg-type]
    shapes: Counter[str] = Counter()
    for place in tqdm(range(length), split, **BAR):
        try:
            sample: Any = dataset[place]
        except Exception as error:  # whatever the data set raises is a finding
            report["problems"].append(f"{split}: sample {place} cannot be read: {error}")
            continue
        parts = sample if isinstance(sample, tuple | list) else (sample,)
        tensors = [part for part in parts if isinstance(part, torch.Tensor)]
        shapes["x".join(map(str, tensors[0].shape)) if tensors else type(sample).__name__] += 1
        if any(part.is_floating_point() and not torch.isfinite(part).all() for part in tensors):
            report["problems"].append(f"{split}: sample {place} holds NaN or infinite values")
    print(f"{split}: {length:,} samples, " + ", ".join(f"{count:,} of shape {s}" for s, count in shapes.most_common(3)))


def _check_classes(splits: dict[str, Dataset[Any]], datamodule: BaseDataModule, report: Report) -> None:
    """Print how many samples each class has in each split."""
    classes = {name: found for name, split in splits.items() if (found := classes_of(split)) is not None}
    if "train" not in classes:
        return
    names = datamodule.class_names or class_names_of(splits["train"]) or []
    num_classes = datamodule.num_classes or len(names) or int(max(found.max() for found in classes.values())) + 1
    for split, found in classes.items():
        try:
            check_labels(found, num_classes)
        except ValueError as error:
            report["problems"].append(f"{split}: {error}")
    counts = {split: np.bincount(found[found >= 0], minlength=num_classes) for split, found in classes.items()}
    width, column = max(map(len, ["class", *names])), max(10, *(len(split) + 2 for split in counts))
    print(f"\n{'class':<{width}}" + "".join(f"{split:>{column}}" for split in counts) + "     share of train")
    for k in range(num_classes):
        name = names[k] if k < len(names) else str(k)
        share = counts["train"][k] / max(counts["train"].sum(), 1)
        print(f"{name:<{width}}" + "".join(f"{count[k]:>{column},}" for count in counts.values()) + f"{share:>19.1%}")
        report["problems"] += [f"train: class {name} is empty"] if counts["train"][k] == 0 else []
