import os
from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import nn
from torch.utils.data import DataLoader, Dataset

from trainworks.datamodules.annotations import class_names_of, classes_of, column
from trainworks.datamodules.inputs import InputReader
from trainworks.datamodules.loaders import build_loader
from trainworks.datamodules.randomness import batch_number, seed_batch
from trainworks.datamodules.splits import check_splits, divide
from trainworks.datamodules.transforms.apply import apply_transforms, normalize_on_device
from trainworks.errors import UsageError
from trainworks.runtime.cores import allowed_cores

MAX_CLASSES_SHOWN = 20
STAGES = ("train", "validate", "test", "predict", "sanity_check")


@dataclass(kw_only=True, eq=False, repr=False)
class BaseDataModule(InputReader, LightningDataModule):
    """The base of every datamodule: splits and folds, loaders, samplers, and transforms of whole batches on the device.

    A subclass defines `load_splits`. Datamodules are dataclasses: the fields are the constructor's arguments.

    Args:
        num_classes: Number of classes. If left out, it is read from the data, before the network is built.
        class_names: Names of the classes, in the order of their numbers. If left out, they are read from the data.
        class_weights: A weight for each class, for a loss that refers to it. If left out, in inverse proportion to the
            class's number of training samples, with a mean of 1 over the samples.
        pos_weight: A weight for each label where it is there. If left out, training samples without it per one with it.
        val_fraction: Share of the training samples held out for validation, in [0, 1), where there is no such split.
        test_fraction: Share of the samples held out for the test, in [0, 1), where the data comes without splits. The
            test split does not depend on `split_seed`.
        split_seed: Seed of the choice of validation samples.
        num_folds: Number of folds of a cross-validation over the training and validation samples, at least 2. Each fold
            has the same share of every class; no group is in two folds.
        fold: The fold that is held out for validation, in [0, num_folds).
        sampling: How often a sample is drawn in an epoch: "shuffle" for once, "balanced" for equally many samples of
            each class, "weighted" in proportion to the data's own weights.
        batch_size: Samples in one step, over all devices together.
        num_workers: Loader processes for each device. If left out: none for data in memory, which is faster without,
            and one per CPU core but one for data that is read and decoded sample by sample.
        collate: Makes a batch of a list of samples, for samples of different sizes; see PadSequences and KeepLists.
        train_transform: Applied in order to each training batch (images, targets), on the device.
        eval_transform: The same for validation, test and prediction.
    """

    num_classes: int | None = None
    class_names: list[str] | None = None
    class_weights: list[float] | None = None
    pos_weight: list[float] | None = None
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
        self._loaded: dict[str, Dataset[Any]] | None = None  # what `load_splits` returned to `facts`, if it was asked
        self._on_device: dict[bool, list[nn.Module]] = {}  # transforms on a GPU, by whether it trains
        self.wanted: set[str] = set()  # arguments to which the configuration refers; see trainworks/cli/facts.py
        self.run_seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))  # that of seed_everything
        self.check_at_least(batch_size=1, num_workers=0, num_folds=2, num_classes=1)
        for name in ("val_fraction", "test_fraction"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise ValueError(f"data.{name} must be in [0, 1), got {value}")
        if not 0 <= self.fold < (self.num_folds or 1):
            raise ValueError(f"data.fold must be in [0, {self.num_folds or 1}), got {self.fold}; see data.num_folds")

    def check_at_least(self, **minimums: int) -> None:
        """Refuse arguments, given by name, that are below their minimum; None is not checked."""
        for name, minimum in minimums.items():
            if (value := getattr(self, name)) is not None and value < minimum:
                raise ValueError(f"data.{name} must be at least {minimum}, got {value}")

    def load_splits(self) -> dict[str, Dataset[Any]]:
        """Return the datasets called "train", "val" and "test", or one called "all".

        Only "train" (or "all") is needed: "val" is split off, and without "test" there is no test. "predict" has
        samples without targets. Further sets have names such as "val/noisy" or "test/clinic", and metrics of their own.
        """
        raise NotImplementedError(f"{type(self).__name__} must define load_splits()")

    def serve(self, datasets: dict[str, Dataset[Any]]) -> dict[str, Dataset[Any]]:
        """Bring what `load_splits` returned into the form that is trained on, such as decoded into memory."""
        return datasets

    def facts(self) -> dict[str, Any]:
        """Return the arguments that are read from the data where they are left out, by name."""
        self._loaded = self.load_splits()
        splits = self.divide(self._loaded)
        if "train" not in splits:
            raise UsageError(f"the data has no train split; it has {', '.join(splits)}")
        return self.facts_of(splits["train"])

    def facts_of(self, train: Dataset[Any]) -> dict[str, Any]:
        """Read these arguments from the training samples."""
        targets, names = classes_of(train), self.class_names or class_names_of(train)
        if targets is None:
            from trainworks.datamodules.labels import label_facts  # which few trainings need

            facts = label_facts(train, self.wanted)
            if names and column(train, "targets") is None:  # but masks or boxes
                facts = {"num_classes": len(names)}
        else:
            counts = np.bincount(targets, minlength=len(names or ()))
            weights = len(targets) / (np.maximum(counts, 1) * len(counts))
            facts = {"num_classes": len(counts), "class_weights": [round(weight, 6) for weight in weights.tolist()]}
        return facts | ({"class_names": names} if names and facts else {})

    def load(self) -> None:
        """Load and divide the data, once."""
        if self.splits:
            return
        self.splits = self.divide(self.serve(self._loaded or self.load_splits()))
        self.class_names = self.class_names or class_names_of(self.splits.get("train"))
        check_splits(self.splits, self.num_classes, 1 if self.trainer is None else self.trainer.world_size)

    def setup(self, stage: str) -> None:
        """Load the data on every process, and describe it on the first."""
        self.load()
        if stage == "fit" and self.trainer is not None and self.trainer.is_global_zero:
            print(self.describe())

    def describe(self) -> str:
        """Say how many samples each split has, and how many training samples each class; of masks what is wrong."""
        lengths = [f"{len(split):,}" if isinstance(split, Sized) else "(no length)" for split in self.splits.values()]
        sizes = ", ".join(f"{name} {length}" for name, length in zip(self.splits, lengths, strict=True))
        line, counts, kind = f"data: {sizes}", self.class_counts, "classes"
        if not counts and self.num_classes:
            from trainworks.datamodules.labels import labels_of

            if (labels := labels_of(self.splits.get("train"))) is not None:
                names, kind = self.class_names or map(str, range(labels.shape[1])), "labels"
                counts = dict(zip(names, (labels > 0.5).sum(axis=0).tolist(), strict=False))
        quoted = {name: repr(name) if name[-1:].isdigit() else name for name in counts}  # "10 classes: 0 128" misleads
        shown = ", ".join(f"{quoted[name]} {count:,}" for name, count in counts.items())
        if len(counts) > MAX_CLASSES_SHOWN:
            ordered = sorted(counts.values())
            shown = f"{ordered[0]:,} to {ordered[-1]:,} training samples each, median {ordered[len(ordered) // 2]:,}"
        line += f"; {len(counts)} {kind}: {shown}" if counts else ""
        if self.num_classes and not counts and isinstance(train := self.splits.get("train"), Sized):
            from trainworks.datamodules.masks import describe_masks

            line += describe_masks(train, self.num_classes, self.run_seed)
        return line

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of training samples of each class, by its name; empty if the targets are no classes."""
        if (targets := classes_of(self.splits.get("train"))) is None:
            return {}
        names = self.class_names or []
        counts = np.bincount(targets, minlength=max(self.num_classes or 0, len(names)))
        return {names[k] if k < len(names) else str(k): int(count) for k, count in enumerate(counts)}

    @property
    def num_cores(self) -> int:
        """Number of CPU cores of this process; the processes of all devices of a machine share its cores."""
        return allowed_cores(self.trainer.num_devices if self.trainer is not None else 1)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the data: names and sizes of the classes, and what its inputs are like."""
        state = {"class_counts": self.class_counts, "class_names": self.class_names}
        return state | self.input_state(self.splits.get("train"))

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled anew each epoch; a smaller last batch is left out."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Every validation sample once, a loader for each set; nothing where there is no validation split."""
        return self._loaders(self.set_names("val"))

    def test_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Every test sample once, a loader for each set."""
        return self._loaders(self.set_names("test") or ["test"])

    def predict_dataloader(self) -> DataLoader[Any]:
        """Predict on the samples called "predict", or else on those of the first test set."""
        return self._loader("predict" if "predict" in self.splits else next(iter(self.set_names("test")), "test"))

    def set_names(self, stage: str) -> list[str]:
        """Return the names of the validation ("val") or test ("test") sets, in the order of their loaders."""
        return [name for name in self.splits if name.partition("/")[0] == stage]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Seed the random numbers of transforms and step, then apply the transforms, on the device."""
        if (trainer := self.trainer) is None:
            return apply_transforms(self.eval_transform, batch)
        number = batch_number(trainer)  # not in `on_train_batch_start`, which Lightning calls only after this hook
        stage = STAGES.index(trainer.state.stage.value) if trainer.state.stage else 0
        seed_batch(trainer.strategy.root_device, self.run_seed, trainer.global_rank, stage, number)
        batch = apply_transforms(self._transforms(trainer.training, trainer.strategy.root_device), batch)
        return trainer.precision_plugin.convert_input(batch)  # 64-true, bf16-true

    def _transforms(self, training: bool, device: torch.device) -> list[nn.Module]:
        transforms = self.train_transform if training else self.eval_transform
        if device.type != "cuda":
            return transforms
        if training not in self._on_device:
            self._on_device[training] = normalize_on_device(transforms, device)
        return self._on_device[training]

    def divide(self, loaded: dict[str, Dataset[Any]]) -> dict[str, Dataset[Any]]:
        """Make the splits that `load_splits` did not return from those that it did."""
        return divide(loaded, self.val_fraction, self.test_fraction, self.split_seed, self.num_folds, self.fold)

    def _loaders(self, names: list[str]) -> DataLoader[Any] | list[Any]:
        loaders = [self._loader(name) for name in names]
        return loaders[0] if len(loaders) == 1 else loaders

    def _loader(self, split: str) -> DataLoader[Any]:
        if split not in self.splits:
            raise UsageError(f"the data has no {split} split; it has {', '.join(self.splits)}")
        return build_loader(self, self.splits[split], shuffle=split == "train")
