from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset
from torchvision.transforms import v2

from src.datamodules.base import BaseDataModule, check_labels, split_off
from src.datamodules.datasets import ArrayDataset

DatasetFactory = Callable[[str], Dataset[Any]]


class VisionDataModule(BaseDataModule):
    """Any image classification dataset of torchvision, or one with the same shape of constructor.

    Datasets that torchvision holds as one array (MNIST and its kin, CIFAR, SVHN, STL10) stay in memory as uint8 and are
    served a batch at a time; all others are read and decoded sample by sample.

    Args:
        root: Folder of the data, handed to each dataset as its first argument.
        num_classes: Number of classes, stated here for the whole configuration.
        train_dataset: The training samples, a dataset's class_path and the arguments after `root`.
        test_dataset: The test samples, in the same way.
        val_dataset: The validation samples; if left out, `val_fraction` of the training samples.
        val_fraction: Share of the training samples that validates, in [0, 1), stratified by class.
        split_seed: Seed of the choice of validation samples.
        sample_transform: Applied to each image as it is read, before samples are joined to a batch; must bring them to
            one size. Datasets held as one array need none.
        batch_size: Samples in one step, over all devices together.
        num_workers: Processes that load data, for each device; by default as many as the data needs.
        train_transform: Applied in order to each training batch (images, targets), on the device.
        eval_transform: The same for validation, test and prediction.

    Raises:
        ValueError: If a number is out of range, or the labels do not fit `num_classes`.
    """

    def __init__(
        self,
        root: str,
        num_classes: int,
        train_dataset: DatasetFactory,
        test_dataset: DatasetFactory,
        val_dataset: DatasetFactory | None = None,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        sample_transform: list[nn.Module] | None = None,
        batch_size: int = 64,
        num_workers: int | None = None,
        train_transform: list[nn.Module] | None = None,
        eval_transform: list[nn.Module] | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, train_transform, eval_transform)
        self.root, self.num_classes = root, num_classes
        self.factories = {"train": train_dataset, "val": val_dataset, "test": test_dataset}
        self.val_fraction, self.split_seed = val_fraction, split_seed
        self.sample_transform = sample_transform

    def prepare_data(self) -> None:
        """Download what is missing, on one process of each machine."""
        for factory in self.factories.values():
            if factory is not None:
                factory(self.root)

    def load_splits(self) -> dict[str, Dataset[Any]]:
        """Open the datasets and split off validation samples where there are none."""
        splits = {name: self._open(factory) for name, factory in self.factories.items() if factory is not None}
        train = splits["train"]
        targets = _targets(train)
        check_labels(targets, self.num_classes)
        if "val" not in splits:
            rest, val = split_off(targets, self.val_fraction, self.split_seed)
            splits |= {"train": _subset(train, rest), "val": _subset(train, val)}
        return splits

    def _open(self, factory: DatasetFactory) -> Dataset[Any]:
        dataset = factory(self.root)
        images = getattr(dataset, "data", None)
        if self.sample_transform is None and isinstance(images, Tensor | np.ndarray):
            return ArrayDataset(_channels_first(torch.as_tensor(images)), _targets(dataset))
        decode = v2.Compose([v2.PILToTensor(), *(self.sample_transform or [])])
        return factory(self.root, transform=decode)  # type: ignore[call-arg]


def _targets(dataset: Dataset[Any]) -> Tensor:
    """Return the class of each sample, shape (N,); zeros if the dataset can tell only by reading its images."""
    for name in ("targets", "labels", "_labels"):
        if (targets := getattr(dataset, name, None)) is not None:
            return torch.as_tensor(targets).long()
    return torch.zeros(len(dataset), dtype=torch.long)  # type: ignore[arg-type]


def _channels_first(images: Tensor) -> Tensor:
    """Bring images of shape (N, H, W) or (N, H, W, C) to (N, C, H, W)."""
    if images.ndim == 3:
        return images.unsqueeze(1)
    if images.shape[1] not in (1, 3) and images.shape[-1] in (1, 3):
        return images.permute(0, 3, 1, 2).contiguous()
    return images


def _subset(dataset: Dataset[Any], indices: np.ndarray) -> Dataset[Any]:
    return dataset.subset(indices) if isinstance(dataset, ArrayDataset) else Subset(dataset, indices.tolist())
