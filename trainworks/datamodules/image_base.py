import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from torchvision.transforms import v2

from trainworks.datamodules.annotations import classes_of
from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.datasets.file_index import class_folders
from trainworks.datamodules.datasets.image_cache import ImageCache, Unreadable, decode_all, describe_unreadable
from trainworks.datamodules.datasets.image_dataset import ImageDataset
from trainworks.datamodules.datasets.image_format import ImageFormat
from trainworks.errors import UsageError, did_you_mean

MEMORY_LIMIT = 256_000_000  # bytes of decoded images up to which storage "auto" is "memory"


@dataclass(kw_only=True, eq=False, repr=False)
class ImageDataModule(BaseDataModule):
    """The base of datamodules of images of any size: how images are resized, and where decoded ones are kept.

    Args:
        image_size: Height and width in pixels to which every image is brought.
        fit: "crop" keeps the proportions and cuts off what is beyond a square in the middle; "stretch" keeps the whole
            image and changes its proportions; "pad" keeps both, with black around.
        num_channels: 3 for colour, 1 for grey, to which every image is converted; else the number that each image has.
        dtype: "uint8", or "float32" to keep all bits; 8 and 16 bits are then scaled to [0, 1], other numbers stay.
        storage: "memory" decodes all images at the start, "cache" decodes them once into a file that later runs and all
            processes share, "files" decodes each image whenever it is needed. All three give the same pixels. "auto" is
            memory up to 256 MB, else cache up to `cache_limit_gb` and the free space, else files.
        cache_dir: Folder of the cached files. They are made anew when images or settings change.
        cache_limit_gb: Gigabytes that the folder may hold; the least recently used files make room for new ones.
        skip_unreadable: Whether images that cannot be decoded are left out, with a count; if not, they are an error.
        sample_transform: Random transforms of each training image in its full size, before it is resized, such as
            torchvision's RandomResizedCrop; this needs storage "files". Most augmentation is faster as
            `train_transform`, which works on whole batches of resized images.
    """

    image_size: int | None = None
    fit: Literal["crop", "stretch", "pad"] = "crop"
    num_channels: int = 3
    dtype: Literal["uint8", "float32"] = "uint8"
    storage: Literal["auto", "memory", "cache", "files"] = "auto"
    cache_dir: str = "data/.prepared"
    cache_limit_gb: float = 20.0
    skip_unreadable: bool = False
    sample_transform: list[nn.Module] = field(default_factory=list)

    left_out = ""  # what a training does without, line by line

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(image_size=1, num_channels=1, cache_limit_gb=0)
        if self.sample_transform and self.storage in ("memory", "cache"):
            raise ValueError(f"data.sample_transform needs data.storage files, got {self.storage}")
        self.skipped: list[str] = []
        self._storage_line = self._remark = ""
        for step in [*self.train_transform, *self.eval_transform] if self.form else []:
            if isinstance(step, v2.Normalize) and (number := len(step.mean)) not in (1, self.num_channels):
                step.mean, step.std = ([sum(values) / number] for values in (step.mean, step.std))
                self._remark = f"Normalize: its {number} channels are averaged, see check --statistics true"
        self.image_scale = None if self.form and not self.sample_transform else 1.0  # crops are not resized
        self._resized: ImageDataset | None = None  # that have masks or boxes

    @property
    def form(self) -> ImageFormat | None:
        """The format to which every image is brought; None to leave images as they are."""
        return ImageFormat(self.image_size, self.fit, self.num_channels, self.dtype) if self.image_size else None

    def form_for(self, argument: str) -> ImageFormat:
        """Return the format of the images in the folder that an argument names; if one is missing, a UsageError."""
        if self.form is None:
            raise UsageError("data.image_size must be a number of pixels, got null")
        if not (folder := Path(getattr(self, argument))).is_dir():
            near = did_you_mean(folder.name, class_folders(folder.absolute().parent))
            raise UsageError(f"data.{argument} {folder}: no such folder{near}")
        return self.form

    def prepare_data(self) -> None:
        """Do what takes long, once a machine: the other processes wait, and then find the cached files."""
        self.load()

    def load(self) -> None:
        """Load and divide the data; random transforms are for training alone."""
        super().load()
        if self.sample_transform and "train" in self.splits:
            self.splits["train"].transform = self.sample_transform  # type: ignore[attr-defined]

    def serve(self, datasets: dict[str, Dataset[Any]]) -> dict[str, Dataset[Any]]:
        """Decode images beforehand where that is wanted, and leave out unreadable ones."""
        images = {name: data for name, data in datasets.items() if isinstance(data, ImageDataset) and name != "predict"}
        if not images:
            return datasets
        first = next(iter(images.values()))
        self._resized = first if classes_of(first) is None else None
        size = sum(int(np.prod(item.decoded_shape)) for item in images.values()) * np.dtype(self.dtype).itemsize
        cache = ImageCache(Path(self.cache_dir), int(self.cache_limit_gb * 1e9), self.num_cores)
        storage = self._choose_storage(size, cache, list(images.values()))
        served = dict(datasets)
        for name, item in images.items():
            served[name], unreadable = self._decode(item, storage, cache)
            self.skipped += unreadable.values()
            if unreadable and not self.skip_unreadable:
                advice = "mend or remove them, or write data.skip_unreadable true"
                raise UsageError(f"{describe_unreadable(list(unreadable.values()))}\n{advice}")
        where = {"memory": "in memory", "cache": f"mapped from {self.cache_dir}", "files": "decoded when needed"}
        shape = "x".join(map(str, first.decoded_shape[1:]))
        self._storage_line = f"images: {shape}, {size / 1e6:,.0f} MB {where[storage]}"
        return served

    def input_state(self, train: Any) -> dict[str, Any]:
        """Return what a checkpoint keeps, with the factor by which images with masks or boxes are resized: a median."""
        if self.image_scale is None and (images := self._resized) is not None:
            areas = []
            for item in np.linspace(0, len(images) - 1, 9, dtype=int).tolist():
                with contextlib.suppress(UsageError):
                    info = images.decode(item)[1]
                    place = images.form.place(info.height, info.width)
                    areas.append(np.prod(place.resized) / np.prod(place.original))
            self.image_scale = float(np.sqrt(np.median(areas))) if areas else None
        return super().input_state(train)

    def describe(self) -> str:
        """Say what the data is, where its images are, and what was left out."""
        skipped = f"skipped {describe_unreadable(self.skipped)}" if self.skipped else ""
        lines = super().describe(), self._storage_line, self._remark, skipped, self.left_out.strip()
        return "\n".join(line for line in lines if line)

    def _choose_storage(self, size: int, cache: ImageCache, images: list[ImageDataset]) -> str:
        if self.storage != "auto" or self.sample_transform:
            return "files" if self.sample_transform else self.storage
        if size <= MEMORY_LIMIT:
            return "memory"
        fits = size <= cache.limit and (all(cache.path(item).exists() for item in images) or cache.has_room(size))
        return "cache" if fits else "files"

    def _decode(self, images: ImageDataset, storage: str, cache: ImageCache) -> tuple[Dataset[Any], Unreadable]:
        """Return the images in the form chosen, without the unreadable ones, and which these are."""
        if storage == "files":
            pixels, unreadable = None, cache.unreadable(images) if self.skip_unreadable else {}
        elif storage == "cache":
            pixels, unreadable = cache.open(images)
        else:
            pixels = np.empty(images.decoded_shape, dtype=images.form.dtype)
            unreadable = decode_all(images, pixels, self.num_cores)
        dataset = images if pixels is None else images.with_inputs(torch.from_numpy(pixels))
        readable = np.delete(np.arange(len(images)), list(unreadable))
        return (dataset.subset(readable) if unreadable else dataset), unreadable
