import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from trainworks.datamodules.annotations import class_names_of, classes_of
from trainworks.datamodules.inputs import InputReader
from trainworks.datamodules.randomness import KeyedDataset, batch_number, seed_batch
from trainworks.datamodules.samplers import ArrayBatchSampler, ShardSampler
from trainworks.datamodules.splits import check_splits, describe, divide
from trainworks.datamodules.transforms.apply import apply_transforms
from trainworks.datamodules.transforms.collate import collate
from trainworks.errors import UsageError
from trainworks.runtime.cores import allowed_cores
from trainworks.runtime.signals import outlast_signals

STAGES = ("train", "validate", "test", "predict", "sanity_check")


@dataclass(kw_only=True, eq=False, repr=False)
class BaseDataModule(InputReader, LightningDataModule):
    """What every datamodule shares: splits and folds, loaders, samplers and transforms of whole batches on the device.

    A subclass writes `load_splits`. It is a dataclass: the fields are the constructor's arguments, and a subclass adds
    its own.

    Args:
        num_classes: Number of classes. If left out, it is read from the data, before the network is built.
        class_names: Their names, in the order of their numbers. If left out, read from the data where it has them.
        class_weights: A weight for each class, for a loss that refers to it. If left out, in inverse proportion to the
            class's training samples, with a mean of 1 over the samples.
        val_fraction: Share of the training samples that validates, in [0, 1), where the data has no validation split.
        test_fraction: Share of the samples that tests, in [0, 1), where the data comes in one piece, without splits.
            It does not depend on `split_seed`.
        split_seed: Seed of the choice of validation samples.
        num_folds: For cross-validation: divide the samples that train and validate into so many parts, at least 2.
            Each has the same share of every class; no group is in two of them.
        fold: The part that validates, in [0, num_folds).
        sampling: How often a sample comes in an epoch: "shuffle" for once, "balanced" for as often as gives each class
            the same share, "weighted" for as often as the data's own weights say.
        batch_size: Samples in one step, over all devices together.
        num_workers: Processes that load data, for each device. If left out: none for data in memory, which is faster
            without, and one per CPU core but one for data that is read and decoded sample by sample.
        collate: Joins a list of samples to a batch, for samples of different sizes; see transforms/.
        train_transform: Applied in order to each training batch (images, targets), on the device.
        eval_transform: The same for validation, test and prediction.
    """

    num_classes: int | None = None
    class_names: list[str] | None = None
    class_weights: list[float] | None = None
    val_fraction: float = 0.1
    test_fraction: float = 0.1
    split_seed: int = 0
    num_folds: int | None = None
    fold: int = 0
    sampling: Literal["shuffle", "balanced", "weighted"] = "shuffle"
    batch_size: int = 64
    num_workers: int | None = None
    collate: Callable[[list[Any]], Any] | None = None
    train_transform: list[nn.Module] = field(default_factory=list)
    eval_transform: list[nn.Module] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.splits: dict[str, Dataset[Any]] = {}
        self._resident: dict[bool, list[nn.Module]] = {}  # transforms with their numbers on the device, once made
        self.wanted: set[str] = set()  # arguments that the configuration wants to be told; see trainworks/cli/facts.py
        self._seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))  # that of seed_everything
        for name, low in (("batch_size", 1), ("num_workers", 0), ("num_folds", 2), ("num_classes", 1)):
            if (value := getattr(self, name)) is not None and value < low:
                raise ValueError(f"data.{name} must be at least {low}, got {value}")
        for name in ("val_fraction", "test_fraction"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise ValueError(f"data.{name} must be in [0, 1), got {value}")
        if not 0 <= self.fold < (self.num_folds or 1):
            raise ValueError(f"data.fold must be in [0, {self.num_folds or 1}), got {self.fold}; see data.num_folds")

    def load_splits(self) -> dict[str, Dataset[Any]]:
        """Return the datasets called "train", "val" and "test", or one called "all".

        Only "train" (or "all") is needed: "val" is split off, and without "test" there is no test. "predict" is for
        samples without targets. Further sets are called "val/noisy", "test/clinic" and the like; each has its own
        metrics.
        """
        raise NotImplementedError(f"{type(self).__name__} must define load_splits()")

    def serve(self, datasets: dict[str, Dataset[Any]]) -> dict[str, Dataset[Any]]:
        """Bring what `load_splits` returned into the form that is trained on, such as decoded into memory."""
        return datasets

    def facts(self) -> dict[str, Any]:
        """Return arguments that may be left out and are then read from the data: name and value."""
        splits = self.divide(self.load_splits())
        if "train" not in splits:
            raise UsageError(f"the data has no train split; it has {', '.join(splits)}")
        return self.facts_of(splits["train"])

    def facts_of(self, train: Dataset[Any]) -> dict[str, Any]:
        """Return what `facts` returns, read from the training samples."""
        targets = classes_of(train)
        if targets is None or not len(targets):
            return {}
        names = self.class_names or class_names_of(train)
        counts = np.bincount(targets, minlength=len(names or ()))
        weights = len(targets) / (np.maximum(counts, 1) * len(counts))
        found = {"num_classes": len(counts), "class_weights": [round(float(weight), 6) for weight in weights]}
        return found | ({"class_names": names} if names else {})

    def load(self) -> None:
        """Load and divide the data, once."""
        if self.splits:
            return
        self.splits = self.divide(self.serve(self.load_splits()))
        if "train" in self.splits:
            self.class_names = self.class_names or class_names_of(self.splits["train"])
        check_splits(self.splits, self.num_classes, 1 if self.trainer is None else self.trainer.world_size)

    def setup(self, stage: str) -> None:
        """Load the data on every process, and say on the first what it is."""
        self.load()
        if stage == "fit" and self.trainer is not None and self.trainer.is_global_zero:
            print(self.describe())

    def describe(self) -> str:
        """Say how many samples each split has, and how many of them are of which class."""
        return describe(self.splits, self.class_counts)

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of training samples by the name of their class; empty if the targets are no classes."""
        targets = classes_of(self.splits["train"]) if "train" in self.splits else None
        if targets is None or not len(targets):
            return {}
        names = self.class_names or []
        counts = np.bincount(targets, minlength=max(self.num_classes or 0, len(names)))
        return {names[k] if k < len(names) else str(k): int(count) for k, count in enumerate(counts)}

    @property
    def num_cores(self) -> int:
        """CPU cores that this process may use, of those that it shares with the other devices' processes."""
        return allowed_cores(self.trainer.num_devices if self.trainer is not None else 1)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the data: names and sizes of the classes, and what its inputs are like."""
        return {"class_counts": self.class_counts, **self.input_state(self.splits.get("train"))}

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled anew each epoch; a smaller last batch is left out."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Every validation sample once, a loader for each set; nothing where there is no validation split."""
        loaders = [self._loader(name) for name in self.set_names("val")]
        return loaders[0] if len(loaders) == 1 else loaders

    def test_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Every test sample once, a loader for each set."""
        loaders = [self._loader(name) for name in self.set_names("test") or ["test"]]
        return loaders[0] if len(loaders) == 1 else loaders

    def predict_dataloader(self) -> DataLoader[Any]:
        """Predict on the samples called "predict", or else on those of the first test set."""
        return self._loader(self.predicted)

    @property
    def predicted(self) -> str:
        """Name of the split that the command predict takes."""
        return "predict" if "predict" in self.splits else [*self.set_names("test"), "test"][0]

    def set_names(self, stage: str) -> list[str]:
        """Return the names of the validation ("val") or test ("test") sets, in the order of their loaders."""
        return [name for name in self.splits if name.partition("/")[0] == stage]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Seed what the step draws, then apply the transforms, on the device.

        The seed is set here and not in `on_train_batch_start`, which Lightning calls only after this hook.
        """
        trainer = self.trainer
        if trainer is not None:
            number = batch_number(trainer)
            stage = STAGES.index(trainer.state.stage.value) if trainer.state.stage else 0
            seed_batch(trainer.strategy.root_device, self._seed, trainer.global_rank, stage, number)
        training = trainer is not None and trainer.training
        batch = apply_transforms(self._transforms(training), batch)
        return batch if trainer is None else trainer.precision_plugin.convert_input(batch)  # 64-true, bf16-true

    def _transforms(self, training: bool) -> list[nn.Module]:
        transforms = self.train_transform if training else self.eval_transform
        if self.trainer is None or (device := self.trainer.strategy.root_device).type != "cuda":
            return transforms
        if training not in self._resident:
            from trainworks.datamodules.transforms.resident_normalize import resident

            self._resident[training] = resident(transforms, device)
        return self._resident[training]

    def divide(self, loaded: dict[str, Dataset[Any]]) -> dict[str, Dataset[Any]]:
        """Make the splits that `load_splits` did not return from those that it did."""
        return divide(loaded, self.val_fraction, self.test_fraction, self.split_seed, self.num_folds, self.fold)

    def _loader(self, split: str) -> DataLoader[Any]:
        if split not in self.splits:
            raise UsageError(f"the data has no {split} split; it has {', '.join(self.splits)}")
        dataset, shuffle, trainer = self.splits[split], split == "train", self.trainer
        shards = (trainer.distributed_sampler_kwargs if trainer is not None else None) or {"num_replicas": 1, "rank": 0}
        world_size, rank = shards["num_replicas"], shards["rank"]
        share, rest = divmod(self.batch_size, world_size)
        if rest:
            near = f"{share * world_size} or {(share + 1) * world_size}" if share else str(world_size)
            wanted = f"must be a multiple of {world_size} devices"
            raise ValueError(f"data.batch_size {wanted}, got {self.batch_size}; use {near}")
        needed = 0 if getattr(dataset, "serves_batches", False) else max(min(self.num_cores - 1, 16), 1)
        num_workers = needed if self.num_workers is None else self.num_workers
        options: dict[str, Any] = {"batch_size": share}
        if not isinstance(dataset, IterableDataset):
            weights = None
            if shuffle and self.sampling != "shuffle":
                from trainworks.datamodules.sample_weights import sampling_weights

                weights = sampling_weights(dataset, self.sampling)
            sampler = ShardSampler(len(dataset), rank, world_size, shuffle, self._seed, weights)  # type: ignore
            batches = ArrayBatchSampler(sampler, share, drop_last=shuffle and len(sampler) >= share)
            # Lightning rebuilds the loader of predict around `sampler`
            predicting = trainer is not None and trainer.predicting
            if not shuffle and isinstance(getattr(trainer, "strategy", None), ModelParallelStrategy):
                from trainworks.datamodules.sample_weights import batches_for_all

                batches.num_batches = batches_for_all(len(dataset), world_size, share, not predicting)  # type: ignore
            options = options | {"sampler": sampler} if predicting else {"batch_sampler": batches}
            dataset = KeyedDataset(dataset, self._seed)
        return DataLoader(
            dataset,
            **options,
            num_workers=num_workers,
            collate_fn=self.collate or collate,
            worker_init_fn=outlast_signals,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
            persistent_workers=num_workers > 0,
            prefetch_factor=4 if num_workers else None,
        )
