from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch.utils.data import Dataset, IterableDataset

from trainworks.datamodules.samplers import ArrayBatchSampler, ShardSampler


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
        from trainworks.datamodules.equal_batches import equal_num_batches

        batches.num_batches = equal_num_batches(length, world_size, batch_size, divisible=not predicting)
    # in a prediction Lightning makes a batch sampler of its own around `sampler`
    return {"batch_size": batch_size, "sampler": sampler} if predicting else {"batch_sampler": batches}
