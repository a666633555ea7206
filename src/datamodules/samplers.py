from collections.abc import Iterator

import numpy as np
from torch.utils.data import BatchSampler, Sampler


class ShardSampler(Sampler[int]):
    """The samples of one rank, in an order that depends only on seed and epoch.

    Every `num_replicas`-th sample of one global order goes to a rank, so together the ranks see what a single process
    would see in the same step.

    Args:
        length: Number of samples in all.
        rank: This process, in [0, num_replicas).
        num_replicas: Number of processes.
        shuffle: Whether the order changes with the epoch; if not, each sample comes once, in the data's order.
        seed: Seed of the order.
    """

    def __init__(self, length: int, rank: int = 0, num_replicas: int = 1, shuffle: bool = False, seed: int = 0) -> None:
        self.length, self.rank, self.num_replicas = length, rank, num_replicas
        self.shuffle, self.seed, self.epoch = shuffle, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; Lightning calls this."""
        self.epoch = epoch

    def order(self) -> np.ndarray:
        """Return this rank's indices, an array of int64."""
        if not self.shuffle:
            return np.arange(self.rank, self.length, self.num_replicas)
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        equal = self.length // self.num_replicas * self.num_replicas  # every rank takes the same number of steps
        return order[self.rank : equal : self.num_replicas]

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def __len__(self) -> int:
        if self.shuffle:
            return self.length // self.num_replicas
        return len(range(self.rank, self.length, self.num_replicas))


class ArrayBatchSampler(BatchSampler):
    """Batches of indices as slices of one array, so that ten million samples need no Python list.

    Args:
        sampler: Gives the order.
        batch_size: Indices in a batch.
        drop_last: Whether a smaller last batch is left out.
    """

    def __iter__(self) -> Iterator[np.ndarray]:  # type: ignore[override]
        sampler = self.sampler
        order = sampler.order() if isinstance(sampler, ShardSampler) else np.fromiter(sampler, dtype=np.int64)
        end = len(order) // self.batch_size * self.batch_size if self.drop_last else len(order)
        for start in range(0, end, self.batch_size):
            yield order[start : min(start + self.batch_size, end)]
