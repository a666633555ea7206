"""Loaders that are not ours give the same batches when a run continues: the generators they draw from are put back."""

import pickle
import random
import zlib
from collections.abc import Iterable
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from lightning.fabric.utilities.data import _set_sampler_epoch
from lightning.pytorch.utilities import CombinedLoader
from torch.utils._pytree import tree_leaves
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

GENERATORS = (random.Random, np.random.RandomState, np.random.Generator, torch.Generator)


class KeptLoader(CombinedLoader):
    """Keeps the states of generators from before an epoch, its first batch and the two that were read last.

    The training draws from them too, between any two batches, and one batch may have been read ahead.
    """

    trainer: Any
    wanted: dict[int, dict[str, Any]]  # states to put back, by the number of the next batch; -1 before an epoch

    def __iter__(self) -> Self:
        self.generators, self.kept = generators(self.trainer, self.flattened), dict[int, Any]()
        self._number, self._names = -1, list(self.generators)  # of those from which batches are drawn
        self._keep()
        return super().__iter__()

    def __next__(self) -> Any:
        self._keep()
        batch = super().__next__()
        if self._number == 1:
            pairs = {name: (self.kept[0][name], self.generators[name][0]()) for name in self._names}
            self._names = [name for name, pair in pairs.items() if len({*map(pickle.dumps, pair)}) > 1]
        return batch

    def _keep(self) -> None:
        put_back(self.generators, self.wanted.pop(self._number, {}))
        self.kept[self._number] = {name: self.generators[name][0]() for name in self._names}
        if self._number > 2:
            del self.kept[self._number - 2]
        self._number += 1

    def go_on(self, wanted: dict[int, dict[str, Any]], num_batches: int) -> None:
        """Begin the current epoch again, and read past so many of its batches."""
        if num_batches and self.trainer.is_global_zero:
            print(f"reads past {num_batches:,} batches of this epoch, to go on in the same order")
        if self.trainer.current_epoch == 0:
            self.reset()  # workers that stay between epochs have begun already
        for loader in self.flattened:
            _set_sampler_epoch(loader, self.trainer.current_epoch)
        self.wanted, fetcher = wanted, self.trainer.fit_loop._data_fetcher
        iter(fetcher)
        for _ in range(num_batches):
            next(fetcher)
        fetcher.fetched = 0  # Lightning counts them in


def keep_order(trainer: Any) -> None:
    """Keep what the loaders of a fit draw from, but for those that can begin within an epoch by themselves."""
    source = trainer.fit_loop._data_source
    requested = source.dataloader

    def dataloader() -> Any:
        loaders = requested()
        loaders = loaders if isinstance(loaders, CombinedLoader) else CombinedLoader(loaders, "max_size_cycle")
        if not all(begins_within_epoch(loader) for loader in loaders.flattened):
            loaders.__class__, loaders.trainer, loaders.wanted = KeptLoader, trainer, {}
        return loaders

    source.dataloader = dataloader


def begins_within_epoch(loader: Any) -> bool:
    """Whether a loader is a BaseDataModule's, or restores its own state."""
    return hasattr(loader, "load_state_dict") or hasattr(getattr(loader, "batch_sampler", None), "continue_at")


def is_exact(loader: Any) -> bool:
    """Whether a loader is known to go on bit by bit: it is torch's in all its parts, and workers end with the epoch."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset) or loader.persistent_workers:
        return False
    usual = type(loader).__iter__ is DataLoader.__iter__ and type(loader.batch_sampler) is BatchSampler
    return usual and type(loader.sampler).__module__.startswith("torch.utils.data")


def generators(trainer: Any, loaders: Iterable[Any]) -> dict[str, Any]:
    """Return how the states of generators are read and put back that the training and these loaders draw from."""
    device = trainer.strategy.root_device
    found: dict[str, Any] = {"python": (random.getstate, random.setstate)}
    found |= {"numpy": (np.random.get_state, np.random.set_state), "cpu": (torch.get_rng_state, torch.set_rng_state)}
    if device.type != "cpu":
        found[device.type] = (module := torch.get_device_module(device)).get_rng_state, module.set_rng_state
    for number, loader in enumerate(loaders):
        holders = loader, getattr(loader, "batch_sampler", None)
        parts = [getattr(holder, name, None) for holder in holders for name in ("dataset", "sampler", "batch_sampler")]
        for part in (loader, *parts):
            held = {name: item for name, item in getattr(part, "__dict__", {}).items() if isinstance(item, GENERATORS)}
            found |= {f"{number}.{type(part).__name__}.{name}": _ways(item) for name, item in held.items()}
    return found


def _ways(generator: Any) -> tuple[Any, Any]:
    if isinstance(generator, np.random.Generator):
        return partial(getattr, generator.bit_generator, "state"), partial(setattr, generator.bit_generator, "state")
    is_python = isinstance(generator, random.Random)
    return (generator.getstate, generator.setstate) if is_python else (generator.get_state, generator.set_state)


def put_back(found: dict[str, Any], states: dict[str, Any]) -> None:
    """Put generators into the states that were kept of them."""
    for name in found.keys() & states.keys():
        found[name][1](states[name])


def checksum(batch: Any) -> int:
    """Return a number that tells a batch from others by its tensors."""
    leaves = [leaf.detach().cpu().flatten() for leaf in tree_leaves(batch) if isinstance(leaf, torch.Tensor)]
    return zlib.crc32(b"".join(leaf.contiguous().view(torch.uint8).numpy().tobytes() for leaf in leaves))
