"""In what order samples come, and how they form batches. A loader's workers import this file, without Lightning."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils._pytree import tree_flatten
from torch.utils.data import BatchSampler, Dataset, IterableDataset, Sampler, default_collate

from trainworks.errors import UsageError


class ShardSampler(Sampler[int]):
    """The samples of one rank, in an order that depends only on seed and epoch.

    A rank takes every `world_size`-th sample of one global order, so together the ranks take in each step the samples
    that a single process would take. A sample is given as a key, epoch * length + index, so that a dataset can seed its
    random transforms from both without being told the epoch.

    Args:
        length: Number of samples in all.
        rank: This process, in [0, world_size).
        world_size: Number of processes.
        shuffle: Whether the order changes with the epoch; if not, each sample comes once, in the data's order.
        seed: Seed of the order.
        weights: Relative frequency of each sample when shuffled, shape (length,), at least 0; None for each once.
    """

    def __init__(
        self,
        length: int,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = False,
        seed: int = 0,
        weights: np.ndarray | None = None,
    ) -> None:
        self.length, self.rank, self.world_size = length, rank, world_size
        self.shuffle, self.seed, self.epoch, self.weights = shuffle, seed, 0, weights

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; Lightning calls this."""
        self.epoch = epoch

    def keys(self) -> np.ndarray:
        """Return this rank's keys of this epoch, an array of int64."""
        if not self.shuffle:
            return np.arange(self.rank, self.length, self.world_size)
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(self.length)
        if self.weights is not None:
            from trainworks.datamodules.sample_weights import systematic_sample

            order = systematic_sample(self.weights, order, random)
        end = len(self) * self.world_size  # every rank takes the same number of steps
        return order[self.rank : end : self.world_size] + self.epoch * self.length

    def __iter__(self) -> Iterator[int]:
        return iter(self.keys().tolist())

    def __len__(self) -> int:
        shared = self.length // self.world_size
        return shared if self.shuffle else len(range(self.rank, self.length, self.world_size))


class ArrayBatchSampler(BatchSampler):
    """Batches of keys as slices of one array, so that ten million samples need no Python list.

    The arguments are those of torch's BatchSampler.

    Attributes:
        start: Number of batches that the next epoch skips, where a training continues in the middle of an epoch.
        num_batches: If set, the number of batches, which are of nearly equal size; `drop_last` is then ignored.
    """

    start = 0
    num_batches: int | None = None

    def continue_at(self, epoch: int, num_batches: int) -> None:
        """Let the next iteration be that of an epoch after so many of its batches."""
        self.start = num_batches
        self.sampler.set_epoch(epoch)  # type: ignore[union-attr]

    def __iter__(self) -> Iterator[np.ndarray]:  # type: ignore[override]
        sampler, first, self.start = self.sampler, self.start * self.batch_size, 0
        keys = sampler.keys() if isinstance(sampler, ShardSampler) else np.fromiter(sampler, dtype=np.int64)
        if self.num_batches is not None:
            yield from np.array_split(keys, self.num_batches)
            return
        end = len(keys) // self.batch_size * self.batch_size if self.drop_last else len(keys)
        for start in range(first, end, self.batch_size):
            yield keys[start : start + self.batch_size]

    def __len__(self) -> int:
        return super().__len__() if self.num_batches is None else self.num_batches


def batching(data: Any, dataset: Dataset[Any], shuffle: bool) -> dict[str, Any]:
    """Return the arguments of a DataLoader that decide which samples of a datamodule's split form a batch here.

    The samples are shuffled, and drawn as `data.sampling` says, only if `shuffle` is true.
    """
    trainer = data.trainer
    shard = (trainer.distributed_sampler_kwargs if trainer is not None else None) or {"num_replicas": 1, "rank": 0}
    world_size, rank = shard["num_replicas"], shard["rank"]
    batch_size, rest = divmod(data.batch_size, world_size)  # of one process
    if rest:
        near = " or ".join(str(size * world_size) for size in (batch_size, batch_size + 1) if size)
        wanted = f"a multiple of {world_size} devices"
        raise ValueError(f"data.batch_size must be {wanted}, got {data.batch_size}; use {near}")
    if isinstance(dataset, IterableDataset):
        if shuffle and data.sampling != "shuffle":
            raise UsageError(f"data.sampling {data.sampling} needs a dataset with a length, this one is iterable")
        return {"batch_size": batch_size}
    length: int = len(dataset)  # type: ignore[arg-type]
    weights = None
    if shuffle and data.sampling != "shuffle":
        from trainworks.datamodules.sample_weights import sampling_weights

        weights = sampling_weights(dataset, data.sampling)
    sampler = ShardSampler(length, rank, world_size, shuffle, data.run_seed, weights)
    batches = ArrayBatchSampler(sampler, batch_size, drop_last=shuffle and len(sampler) >= batch_size)
    predicting = trainer is not None and trainer.predicting
    if not shuffle and trainer is not None:
        from lightning.pytorch.strategies import ModelParallelStrategy

        if isinstance(trainer.strategy, ModelParallelStrategy):
            batches.num_batches = equal_num_batches(length, world_size, batch_size, divisible=not predicting)
    # in a prediction Lightning makes a batch sampler of its own around `sampler`
    return {"batch_size": batch_size, "sampler": sampler} if predicting else {"batch_sampler": batches}


def equal_num_batches(length: int, world_size: int, batch_size: int, divisible: bool = True) -> int | None:
    """Return into how many batches each process divides its samples so that all have equally many and none is empty.

    Each batch has at most `batch_size` of the `length` samples; only if they are `divisible` may it have fewer. None
    means that full batches and a smaller last one are equally many on all processes already.
    """
    largest, smallest = math.ceil(length / world_size), length // world_size  # samples of one process
    num_batches = math.ceil(largest / batch_size)
    if math.ceil(smallest / batch_size) == num_batches:
        return None
    if smallest < num_batches or not divisible:
        raise UsageError(
            f"{length} samples are not equally many batches for each of {world_size} processes, which sharded weights "
            f"need; got a data.batch_size of {batch_size * world_size}; write another, at least {2 * world_size}"
        )
    return num_batches


def collate(batch: Any, resizes: bool = False) -> Any:
    """Stack a list of samples; a batch that a dataset served whole stays as it is.

    `resizes` says that the datamodule has an image_size, which the message about samples of different sizes names.
    """
    if not isinstance(batch, list):
        return batch
    if isinstance(batch[0], tuple) and isinstance(batch[0][-1], dict) and "boxes" in batch[0][-1]:
        images, targets = zip(*batch, strict=True)
        return collate(list(images), resizes), list(targets)
    try:
        return default_collate(batch)
    except TypeError as error:
        if "default_collate" not in str(error):
            raise
        kind, how = str(error).rpartition("found ")[2], "return tensors, arrays, numbers or texts, or set data.collate"
        raise UsageError(f"a sample holds {kind}, of which no batch can be made; {how}") from None
    except RuntimeError:  # which in a worker tells of its memory, else of the first two shapes that differ
        parts = zip(*(tree_flatten(sample)[0] for sample in batch), strict=False)
        differing = [sorted(found) for part in parts if len(found := {tuple(np.shape(item)) for item in part}) > 1]
        if not differing:
            raise
        first, last = differing[0][0], differing[0][-1]
        pads = len(first) == len(last) and len({shape[1:] for shape in differing[0]}) == 1
        way = "PadSequences, which pads them" if pads else "KeepLists, which keeps them in lists"
        advice = f"{'data.image_size or ' if resizes else ''}data.collate: trainworks.datamodules.transforms.{way}"
        raise UsageError(f"samples of one batch differ in size: {first} and {last}; write {advice}") from None
