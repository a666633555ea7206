"""Which samples of a split form a batch, and how they are joined to one."""

import math
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch.utils.data import Dataset, IterableDataset, default_collate

from trainworks.datamodules.samplers import ArrayBatchSampler, ShardSampler
from trainworks.errors import UsageError


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
        return {"batch_size": batch_size}
    length: int = len(dataset)  # type: ignore[arg-type]
    weights = None
    if shuffle and data.sampling != "shuffle":
        from trainworks.datamodules.sample_weights import sampling_weights

        weights = sampling_weights(dataset, data.sampling)
    sampler = ShardSampler(length, rank, world_size, shuffle, data.run_seed, weights)
    batches = ArrayBatchSampler(sampler, batch_size, drop_last=shuffle and len(sampler) >= batch_size)
    predicting = trainer is not None and trainer.predicting
    if not shuffle and trainer is not None and isinstance(trainer.strategy, ModelParallelStrategy):
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


def collate(batch: Any) -> Any:
    """Stack a list of samples; a batch that a dataset served whole stays as it is."""
    if not isinstance(batch, list):
        return batch
    try:
        return default_collate(batch)
    except RuntimeError as error:
        if "equal size" not in str(error):
            raise
        raise UsageError(
            f"samples of one batch differ in size ({str(error).partition(', but ')[2]}); set data.image_size, or "
            "data.collate to PadSequences or KeepLists of trainworks.datamodules.transforms"
        ) from None
