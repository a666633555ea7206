"""The rule of randomness: every random number depends only on (seed, epoch, sample) or on (seed, rank, batch).

So an exact resume needs no saved generator states, and a sample's augmentation depends neither on the number of workers
nor on what ran before it.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset


def mix(*numbers: int) -> int:
    """Hash integers to one integer of 64 bits (splitmix64, https://prng.di.unimi.it/splitmix64.c)."""
    state = 0
    for number in numbers:
        state = ((state ^ number) + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state


def seed_sample(seed: int, epoch: int, index: int) -> None:
    """Seed the generators that a dataset may use: those of torch on the CPU, numpy and Python."""
    number = mix(seed, epoch, index)
    torch.default_generator.manual_seed(number)  # torch.manual_seed seeds every device, and takes 100 times as long
    np.random.seed(number % 2**32)
    random.seed(number)


def seed_batch(device: torch.device, seed: int, rank: int, stage: int, number: int) -> None:
    """Seed the generators that batch transforms and the step use: those of torch on the CPU and on `device`."""
    mixed = mix(seed, rank, stage, number)
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(mixed)
    elif device.type == "mps":
        torch.mps.manual_seed(mixed)


def batch_number(trainer: Any) -> int:
    """Return the number of the current batch: in the whole training, or in this validation, test or prediction."""
    if trainer.training:
        return int(trainer.fit_loop.total_batch_idx) + 1
    running = trainer.state.fn.value if trainer.state.fn else ""
    loops = {"fit": trainer.fit_loop.epoch_loop.val_loop, "test": trainer.test_loop, "predict": trainer.predict_loop}
    return int(loops.get(running, trainer.validate_loop).batch_progress.current.ready)


@contextmanager
def kept_generators() -> Iterator[None]:
    """Restore the generators afterwards: samples read in the training process must not disturb the step."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


class KeyedDataset(Dataset[Any]):
    """Serves another dataset by key, epoch * length + index, so that random transforms depend on both.

    A dataset that serves whole batches gets the indices of a batch. Of any other dataset the samples are read one by
    one, each after all generators were seeded from (seed, epoch, index).

    Args:
        dataset: Any dataset with a length; `serves_batches` says that its `__getitems__` returns a whole batch.
        seed: Seed of the run.
    """

    def __init__(self, dataset: Dataset[Any], seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self._length: int = len(dataset)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self._length

    def __getitems__(self, keys: np.ndarray | list[int]) -> Any:
        """Return the batch itself, or a list of samples."""
        epochs, indices = np.divmod(keys, self._length)
        if getattr(self.dataset, "serves_batches", False):
            return self.dataset.__getitems__(indices)  # type: ignore[attr-defined]
        samples = []
        with kept_generators():
            for epoch, index in zip(epochs.tolist(), indices.tolist(), strict=True):
                seed_sample(self.seed, epoch, index)
                samples.append(self.dataset[index])
        return samples
