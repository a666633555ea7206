import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset
from torchvision.datasets import wrap_dataset_for_transforms_v2

from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.datasets.array_dataset import ArrayDataset
from trainworks.datamodules.datasets.image_cache import Bad, ImageCache, decode_all, listing, shape_of
from trainworks.datamodules.datasets.image_dataset import ImageDataset, ImageFormat, PairedImages, PillowImages
from trainworks.errors import UsageError

DatasetFactory = Callable[[str], Dataset[Any]]
MEMORY_LIMIT = 256_000_000  # bytes of decoded images that are decoded anew at each start rather than kept in a file
TARGETS = ("targets", "labels", "_labels", "y", "_samples")  # what torchvision's datasets call their classes


@dataclass(kw_only=True, eq=False, repr=False)
class ImageDataModule(BaseDataModule):
    """What datamodules of images of any size share: how images are made to fit, and where decoded ones are kept.

    Args:
        image_size: Height and width in pixels that every image is made into.
        fit: "crop" keeps an image's proportions and its middle; "stretch" keeps all of it and bends the proportions.
        num_channels: 3 for colour, 1 for grey; every image is brought to it.
        storage: "memory" decodes all images at the start, "cache" decodes them once into a file that later runs and all
            processes share, "files" decodes each image whenever it is needed. All three give the same pixels. "auto" is
            memory up to 256 MB, else cache up to `cache_limit_gb` and the free space, else files.
        cache_dir: Folder of the prepared files. They are made anew when images or settings change.
        cache_limit_gb: Gigabytes that the folder may hold; the files used longest ago make room for new ones.
        skip_unreadable: Whether images that cannot be decoded are left out, with a count; if not, they are an error.
        sample_transform: Random transforms of each training image in its full size, before it is made to fit, such as
            torchvision's RandomResizedCrop; this needs storage "files". Most augmentation is faster as
            `train_transform`, which works on whole batches of images that were made to fit.
    """

    image_size: int | None = None
    fit: Literal["crop", "stretch"] = "crop"
    num_channels: Literal[1, 3] = 3
    storage: Literal["auto", "memory", "cache", "files"] = "auto"
    cache_dir: str = "data/.prepared"
    cache_limit_gb: float = 20.0
    skip_unreadable: bool = False
    sample_transform: list[nn.Module] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(f"data.image_size must be at least 1, got {self.image_size}")
        if self.cache_limit_gb < 0:
            raise ValueError(f"data.cache_limit_gb must be at least 0, got {self.cache_limit_gb}")
        if self.sample_transform and self.storage in ("memory", "cache"):
            raise ValueError(f"data.sample_transform needs data.storage files, got {self.storage}")
        self.skipped: list[str] = []
        self._stored = ""

    @property
    def form(self) -> ImageFormat | None:
        """What every image is made into; None to leave images as they are."""
        return None if self.image_size is None else ImageFormat(self.image_size, self.fit, self.num_channels)

    def prepare_data(self) -> None:
        """Do what takes long, once a machine: the other processes wait, and then find prepared files."""
        self.load()

    def load(self) -> None:
        """Load and divide the data; random transforms are for training alone."""
        super().load()
        if self.sample_transform and "train" in self.splits:
            self.splits["train"].transform = self.sample_transform  # type: ignore[attr-defined]

    def serve(self, datasets: dict[str, Dataset[Any]]) -> dict[str, Dataset[Any]]:
        """Decode images beforehand where that is wanted, and leave out unreadable ones."""
        images = {n: item for n, item in datasets.items() if isinstance(item, ImageDataset) and n != "predict"}
        if not images:
            return datasets
        size = sum(int(np.prod(shape_of(item))) for item in images.values())
        cache = ImageCache(Path(self.cache_dir), int(self.cache_limit_gb * 1e9), self.num_cores)
        storage = self._choose(size, cache, list(images.values()))
        served = dict(datasets)
        for name, item in images.items():
            served[name], bad = self._decode(item, storage, cache)
            self.skipped += bad.values()
            if bad and not self.skip_unreadable:
                advice = "mend or remove them, or write data.skip_unreadable true"
                raise UsageError(f"{listing(list(bad.values()))}\n{advice}")
        where = {"memory": "in memory", "cache": f"mapped from {self.cache_dir}", "files": "decoded when needed"}
        form = f"{self.num_channels}x{self.image_size}x{self.image_size}"
        self._stored = f"images: {form}, {size / 1e6:,.0f} MB {where[storage]}"
        return served

    def describe(self) -> str:
        """Say what the data is, where its images are, and what was left out."""
        skipped = f"skipped {listing(self.skipped)}" if self.skipped else ""
        return "\n".join(line for line in (super().describe(), self._stored, skipped) if line)

    def _choose(self, size: int, cache: ImageCache, images: list[ImageDataset]) -> str:
        if self.storage != "auto":
            return self.storage
        if self.sample_transform:
            return "files"
        if size <= MEMORY_LIMIT:
            return "memory"
        if size > cache.limit:
            return "files"
        prepared = all(cache.path(item).exists() for item in images)
        return "cache" if prepared or cache.has_room(size) else "files"

    def _decode(self, images: ImageDataset, storage: str, cache: ImageCache) -> tuple[Dataset[Any], Bad]:
        """Return the images in the form chosen, without the unreadable ones, and which these are."""
        if storage == "files":
            pixels, bad = None, cache.unreadable(images) if self.skip_unreadable else {}
        elif storage == "cache":
            pixels, bad = cache.open(images, cache.path(images))
        else:
            pixels = np.empty(shape_of(images), dtype=np.uint8)
            bad = decode_all(images, pixels, self.num_cores)
        dataset = images if pixels is None else images.with_inputs(torch.from_numpy(pixels))
        return (dataset.subset(np.delete(np.arange(len(images)), list(bad))) if bad else dataset), bad


@dataclass(kw_only=True, eq=False, repr=False)
class VisionDataModule(ImageDataModule):
    """Any dataset of torchvision, or one of your own with samples (input, target).

    Datasets that torchvision holds as one array (MNIST and its kin, CIFAR, SVHN, STL10) stay in memory as uint8. Other
    images with a class are decoded as `storage` says. Images with masks or boxes are read one by one, together with
    them. Samples that are no images are left as they are.

    Args:
        root: Folder of the data, handed to each dataset as its first argument.
        train_dataset: The training samples, a dataset's class_path and the arguments after `root`.
        test_dataset: The test samples, in the same way.
        val_dataset: The validation samples; if left out, `val_fraction` of the training samples.
    """

    root: str
    train_dataset: DatasetFactory
    test_dataset: DatasetFactory | None = None
    val_dataset: DatasetFactory | None = None

    def load_splits(self) -> dict[str, Dataset[Any]]:
        """Open the datasets, which may download them."""
        factories = {"train": self.train_dataset, "val": self.val_dataset, "test": self.test_dataset}
        return {name: self._open(factory(self.root)) for name, factory in factories.items() if factory is not None}

    def _open(self, dataset: Dataset[Any]) -> Dataset[Any]:
        if isinstance(dataset, IterableDataset):
            return dataset
        data, targets, classes = getattr(dataset, "data", None), _targets(dataset), getattr(dataset, "classes", None)
        if targets is not None and self.form is None and isinstance(data, Tensor | np.ndarray):
            return ArrayDataset(channels_first(torch.as_tensor(data)), targets, classes=classes)
        sample: Any = dataset[0]
        if not isinstance(sample, tuple | list) or not isinstance(sample[0], Image.Image):
            return dataset
        if targets is None:
            with contextlib.suppress(TypeError):  # none of torchvision's own: it must give tv_tensors itself
                dataset = wrap_dataset_for_transforms_v2(dataset)
            return PairedImages(dataset, self.form)
        if self.form is None:
            raise UsageError(f"images of {type(dataset).__name__} may differ in size; write data.image_size")
        return PillowImages(dataset, targets, classes, self.form)


def _targets(dataset: Dataset[Any]) -> Tensor | None:
    """Return the class of each sample, shape (N,), or None if the dataset can tell only by reading its images."""
    for name in TARGETS:
        found = getattr(dataset, name, None)
        if isinstance(found, list) and found and isinstance(found[0], tuple):
            found = [sample[-1] for sample in found]
        try:
            targets = None if found is None else torch.as_tensor(found)
        except (TypeError, ValueError, RuntimeError):  # names of files
            continue
        if targets is not None and targets.ndim == 1 and not targets.is_floating_point():
            return targets.long()
    return None


def channels_first(images: Tensor) -> Tensor:
    """Bring images of shape (N, H, W) or (N, H, W, C) to (N, C, H, W)."""
    if images.ndim == 3:
        return images.unsqueeze(1)
    if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[-1] in (1, 3):
        return images.permute(0, 3, 1, 2).contiguous()
    return images
