import os
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate

from src.datamodules.datasets import ArrayDataset
from src.datamodules.samplers import ArrayBatchSampler, ShardSampler


class BaseDataModule(LightningDataModule):
    """What every datamodule shares: loaders, samplers and transforms of whole batches on the device.

    A subclass writes `load_splits`.

    Args:
        batch_size: Samples in one step, over all devices together.
        num_workers: Processes that load data, for each device. If left out: none for data in memory, which is faster
            without, and one per processor core but one for data that is read and decoded sample by sample.
        train_transform: Applied in order to each training batch (images, targets), on the device.
        eval_transform: The same for validation, test and prediction.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        batch_size: int = 64,
        num_workers: int | None = None,
        train_transform: list[nn.Module] | None = None,
        eval_transform: list[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"data.batch_size must be at least 1, got {batch_size}")
        if num_workers is not None and num_workers < 0:
            raise ValueError(f"data.num_workers must be at least 0, got {num_workers}")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.train_transform = train_transform or []
        self.eval_transform = eval_transform or []
        self.splits: dict[str, Dataset[Any]] = {}

    def load_splits(self) -> dict[str, Dataset[Any]]:
        """Return the datasets called "train", "val" and "test"."""
        raise NotImplementedError(f"{type(self).__name__} must define load_splits()")

    def setup(self, stage: str) -> None:
        """Load the data once."""
        if not self.splits:
            self.splits = self.load_splits()

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled anew each epoch; a smaller last batch is left out."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Every validation sample once."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Every test sample once."""
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Predict on the test samples."""
        return self._loader("test", predict=True)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Apply the transforms, on the device."""
        training = self.trainer is not None and self.trainer.training
        for transform in self.train_transform if training else self.eval_transform:
            batch = transform(*batch)
        return batch

    def _loader(self, split: str, shuffle: bool = False, predict: bool = False) -> DataLoader[Any]:
        dataset = self.splits[split]
        length = len(dataset)  # type: ignore[arg-type]
        world_size, rank, on_cuda = 1, 0, False
        if self.trainer is not None:
            world_size, rank = self.trainer.world_size, self.trainer.global_rank
            on_cuda = self.trainer.strategy.root_device.type == "cuda"
        share, rest = divmod(self.batch_size, world_size)
        if rest:
            near = f"{share * world_size} or {(share + 1) * world_size}" if share else str(world_size)
            wanted = f"a multiple of {world_size} devices, got {self.batch_size}; use {near}"
            raise ValueError(f"data.batch_size must be {wanted}")
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))  # that of seed_everything
        sampler = ShardSampler(length, rank, world_size, shuffle, seed)
        num_workers = self.num_workers
        if num_workers is None:
            num_workers = 0 if isinstance(dataset, ArrayDataset) else max((os.cpu_count() or 1) - 1, 1)
        batch_sampler = ArrayBatchSampler(sampler, share, drop_last=shuffle and len(sampler) >= share)
        order = {"sampler": sampler, "batch_size": share}  # Lightning rebuilds the loader of predict around `sampler`
        return DataLoader(
            dataset,
            **(order if predict else {"batch_sampler": batch_sampler}),
            num_workers=num_workers,
            collate_fn=_collate,
            pin_memory=on_cuda,
            persistent_workers=num_workers > 0,
        )


def split_off(targets: Tensor | np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split samples in two, at random, with the same share of every class on both sides.

    Args:
        targets: Class of each sample, shape (N,).
        fraction: Share of the second part, in [0, 1).
        seed: Seed of the choice.

    Returns:
        The sorted indices of the first and of the second part.

    Raises:
        ValueError: If `fraction` is out of range.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"data.val_fraction must be in [0, 1), got {fraction}")
    classes = np.asarray(targets)
    shuffled = np.random.default_rng(seed).permutation(len(classes))
    grouped = shuffled[np.argsort(classes[shuffled], kind="stable")]
    steps = np.floor(np.arange(len(grouped) + 1) * fraction + 0.5)  # where it rises, a sample goes to the second part
    chosen = np.diff(steps) > 0
    return np.sort(grouped[~chosen]), np.sort(grouped[chosen])


def check_labels(targets: Tensor, num_classes: int) -> None:
    """Compare the labels with the stated number of classes.

    Raises:
        ValueError: If a label is out of range.
    """
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= num_classes:
        raise ValueError(f"data.num_classes is {num_classes}, but the labels go from {low} to {high}; write {high + 1}")


def _collate(batch: Any) -> Any:
    """Join a list of samples; what a dataset serves as a batch already stays as it is."""
    return default_collate(batch) if isinstance(batch, list) else batch
