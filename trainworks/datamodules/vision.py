import contextlib
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset
from torchvision.datasets import wrap_dataset_for_transforms_v2

from trainworks.datamodules.datasets.array_dataset import ArrayDataset, channels_first
from trainworks.datamodules.datasets.image_dataset import PairedImages, PillowImages
from trainworks.datamodules.image_base import ImageDataModule
from trainworks.errors import UsageError

DatasetFactory = Callable[[str], Dataset[Any]]
TARGET_ATTRIBUTES = ("targets", "labels", "_labels", "y", "_samples")  # where torchvision's datasets keep their classes


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
        return {name: self._open(self._build(name, made)) for name, made in factories.items() if made is not None}

    def _build(self, split: str, factory: DatasetFactory) -> Dataset[Any]:
        """Build a dataset; where one of torchvision's does not find its files, name the folder in which it looked."""
        try:
            return factory(self.root)
        except (FileNotFoundError, URLError, RuntimeError) as error:
            frames = traceback.extract_tb(error.__traceback__)
            known = any({"torchvision", "datasets"} <= {*Path(frame.filename).parts} for frame in frames)
            named = Path(getattr(error, "filename", None) or self.root)
            if not known or isinstance(error.__context__, ImportError) or not named.is_relative_to(self.root):
                raise
            key, root = f"data.{split}_dataset", Path(self.root).expanduser().absolute()
            words = " ".join(str(error).split()).rstrip(".").replace("download=True", f"--{key}.download true")
            raise UsageError(f"{key}: {words}; data.root is {root}; write --data.root DIR") from error

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
            with contextlib.suppress(TypeError):  # a dataset that is not torchvision's must return tv_tensors itself
                dataset = wrap_dataset_for_transforms_v2(dataset)
            return PairedImages(dataset, self.form)
        if self.form is None:
            raise UsageError(f"images of {type(dataset).__name__} may differ in size; write data.image_size")
        return PillowImages(dataset, targets, classes, self.form)


def _targets(dataset: Dataset[Any]) -> Tensor | None:
    """Return the class of each sample, shape (N,), or None where only reading the samples would tell."""
    for name in TARGET_ATTRIBUTES:
        values = getattr(dataset, name, None)
        if isinstance(values, list) and values and isinstance(values[0], tuple):
            values = [sample[-1] for sample in values]
        with contextlib.suppress(TypeError, ValueError, RuntimeError):  # None, names of files
            targets = torch.as_tensor(values)
            if targets.ndim == 1 and not targets.is_floating_point():
                return targets.long()
    return None
