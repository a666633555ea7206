"""What the data of a configuration is, and all that is wrong with it, for the command check."""

import hashlib
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset
from torchvision.transforms.v2 import functional
from tqdm import tqdm

from trainworks.cli.facts import build_data, seed_all
from trainworks.cli.process import settled_process
from trainworks.cli.target_report import TargetReport
from trainworks.datamodules.annotations import IGNORED_CLASS, class_names_of, title_of
from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.datasets.decode import UnreadableImage
from trainworks.datamodules.datasets.image_arrays import ImageInfo
from trainworks.datamodules.datasets.image_cache import chunks
from trainworks.datamodules.datasets.image_dataset import ImageDataset, ImageFiles, PairedImages
from trainworks.datamodules.loaders import build_loader
from trainworks.errors import UsageError
from trainworks.runs.yaml_files import Config

BAR: Any = {"unit": " samples", "disable": None, "leave": False}
Report = dict[str, list[str]]  # "problems", which should be mended, and "notes" of what is dealt with


@settled_process()
def report_data(config: Config, with_statistics: bool, picture: str | None) -> int:
    """Print what the data is and what is wrong with it, not looking at the model; return 0 if nothing is, else 1."""
    if picture is not None:
        seed_all(config)
    datamodule = build_data(config)
    if not isinstance(datamodule, BaseDataModule):
        raise UsageError(f"check reads subclasses of BaseDataModule, got {type(datamodule).__name__}")
    seen: dict[bytes, tuple[str, str, Any]] = {}
    splits, report = datamodule.divide(datamodule.load_splits()), Report(notes=[], problems=[])
    names = datamodule.class_names or class_names_of(splits.get("train")) or []
    targets = TargetReport(datamodule, config, names)
    if picture is not None:
        from trainworks.cli.picture import draw_samples

        try:
            with warnings.catch_warnings(action="ignore"):  # of letters that no font has
                draw_samples(datamodule, splits["train"], names, picture)
        except (OSError, RuntimeError, TypeError, ValueError) as error:  # such as a crop larger than the images
            raise UsageError(f"--picture {picture}: {error}") from error
    for name, dataset in splits.items():
        if isinstance(dataset, IterableDataset):
            report["notes"].append(f"{name}: an iterable data set has no length and was not read")
        elif isinstance(dataset, ImageDataset):
            _check_images(name, dataset, datamodule.num_cores, report, seen, targets)
        else:
            _check_samples(name, dataset, report, targets)
    targets.finish(report)
    report["notes"] += getattr(datamodule, "left_out", "").splitlines()
    report["problems"] += getattr(datamodule, "faults", [])
    for title, lines in report.items():
        if lines:
            print("\n  ".join([f"\n{len(lines)} {title if len(lines) > 1 else title[:-1]}:", *lines]))
    print("\nno problems" if not report["problems"] else "")
    if with_statistics:
        print(_statistics(datamodule))
    return 1 if report["problems"] else 0


def _statistics(datamodule: BaseDataModule) -> str:
    """Return as YAML the Normalize of the training images, which are as the loader gives them, scaled as by ToDtype."""
    datamodule.load()
    sums: Any = 0
    for batch in build_loader(datamodule, datamodule.splits["train"], shuffle=False):
        for image in batch[0] if isinstance(batch, tuple | list) else batch:
            if getattr(image, "ndim", 0) != 3:
                raise UsageError(f"--statistics is for images (C, H, W), got {getattr(image, 'shape', type(image))}")
            pixels = functional.to_dtype(image, torch.float64, scale=True).flatten(1)
            sums = sums + torch.stack([torch.ones_like(pixels), pixels, pixels.square()]).sum(dim=2)
    mean, square = sums[1:] / sums[0]
    columns = torch.stack([mean, (square - mean.square()).clamp(min=0).sqrt()]).tolist()
    mean, std = ([float(f"{x:.4g}") for x in column] for column in columns)
    return f"- class_path: torchvision.transforms.v2.Normalize\n  init_args: {{mean: {mean}, std: {std}}}"


def _check_images(
    split: str, images: ImageDataset, num_threads: int, report: Report, seen: dict[bytes, Any], targets: TargetReport
) -> None:
    """Decode every image, and compare the files with those of the stages before and of other classes."""
    stage, classes = split.partition("/")[0], images.targets
    infos: list[ImageInfo] = []
    copies: list[str] = []

    def look(item: int) -> tuple[ImageInfo, Any, bytes] | UnreadableImage:
        """Return what is known of an image, its mask, and the hash of its file, if it is one."""
        try:
            info = images.decode(item)[1]
            place = images.form.place(info.height, info.width)
            mask = place.fit_mask(images._upright_mask(item, info), IGNORED_CLASS) if images.has_masks else None
        except UnreadableImage as error:
            return error
        if not isinstance(images, ImageFiles):
            return info, mask, b""
        with open(images.path(item), "rb") as file:
            return info, mask, hashlib.file_digest(file, "blake2b").digest()

    with ThreadPoolExecutor(num_threads) as pool:
        looks = chain.from_iterable(pool.map(lambda items: [look(item) for item in items], chunks(len(images))))
        for item, found in enumerate(tqdm(looks, split, len(images), **BAR)):
            if isinstance(found, UnreadableImage):
                report["problems"].append(str(found))
                continue
            info, mask, digest = found
            infos.append(info)
            target = mask if classes is None else classes[item]
            label, size = str(target), (images.form.num_channels, *2 * [images.form.size])
            targets.look(split, title_of(images, item), np.broadcast_to(0, size), target)
            own = (f"{split}: {images.name(item)}", stage, label)
            first = seen.setdefault(digest, own) if digest else own
            if first[1:] != own[1:]:
                copies.append(f"{own[0]} is the same file as {first[0]}" + ", of another class" * (first[2] != label))
    if infos:
        widths, heights = np.array([(info.width, info.height) for info in infos]).T
        ranges = [f"{sides.min()} to {sides.max()} (median {int(np.median(sides))})" for sides in (widths, heights)]
        made = f"each is made {images.form.size}x{images.form.size}"
        print(f"{split}: {len(infos):,} images, width {ranges[0]}, height {ranges[1]}; {made}")
    form, number = images.form, images.form.num_channels
    wanted = {1: "L", 3: "RGB"}.get(number * (form.dtype == "uint8"), f"{number} channels of {form.dtype}")
    modes = Counter(info.mode for info in infos if info.mode != wanted)
    report["notes"] += [f"{split}: {count:,} images of mode {mode}, made {wanted}" for mode, count in modes.items()]
    if rotated := sum(info.orientation != 1 for info in infos):
        report["notes"].append(f"{split}: {rotated:,} images turned upright by their EXIF data")
    report["problems"] += copies[:10] + ([f"and {len(copies) - 10} more copies"] if len(copies) > 10 else [])


def _check_samples(split: str, dataset: Dataset[Any], report: Report, targets: TargetReport) -> None:
    """Read every sample, and look for numbers that are none."""
    length: int = len(dataset)  # type: ignore[arg-type]
    shapes: Counter[str] = Counter()
    if isinstance(dataset, PairedImages):
        dataset = PairedImages(dataset.dataset, None)  # resizing hides masks of another size and boxes that reach out
    for item in tqdm(range(length), split, **BAR):
        where = title_of(dataset, item)
        try:
            sample: Any = dataset[item]
            parts = sample if isinstance(sample, tuple | list) else (sample,)
            tensors = [torch.as_tensor(part) for part in parts if isinstance(part, torch.Tensor | np.ndarray | float)]
            shapes["x".join(map(str, tensors[0].shape)) if tensors else type(sample).__name__] += 1
            if any(part.is_floating_point() and not torch.isfinite(part).all() for part in tensors):
                report["problems"].append(f"{split}: {where} holds NaN or infinite values")
            elif len(parts) == 2:
                targets.look(split, where, *parts)
        except Exception as error:  # whatever the data set raises is a finding
            report["problems"].append(f"{split}: {where} cannot be read: {error}")
    print(f"{split}: {length:,} samples, " + ", ".join(f"{count:,} of shape {s}" for s, count in shapes.most_common(3)))
