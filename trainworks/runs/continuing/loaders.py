"""Loaders that are not ours go on in the same order, since the generators that they draw from are put back."""

import zlib
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities.data import _set_sampler_epoch
from lightning.fabric.utilities.seed import _collect_rng_states, _set_rng_states
from torch.utils._pytree import tree_leaves
from torch.utils.data import BatchSampler, DataLoader


class LoaderOrder:
    """Keeps where generators stood before an epoch, and before a batch was read: the training draws from them too."""

    def __init__(self, trainer: Any) -> None:
        self.trainer: Any = trainer
        self.loaders: list[Any] = trainer.fit_loop._combined_loader.flattened
        self.batches: list[Any] = [getattr(item, "batch_sampler", None) for item in self.loaders]
        ways = [getattr(item, "load_state_dict", None) for item in self.loaders] + self.batches
        self.is_needed = sum(callable(way) or hasattr(way, "num_skipped") for way in ways) < len(self.batches)
        parts = [*self.loaders, *(getattr(item, "sampler", None) for item in self.batches)]
        self._own = [part.generator for part in parts if getattr(part, "generator", None) is not None]
        if (device := trainer.strategy.root_device).type == "cuda":
            self._own.append(torch.cuda.default_generators[device.index or 0])
        self.kept, self.wanted, self._draws = dict[str, Any](), dict[str, Any](), False
        if self.is_needed:
            loop = trainer.fit_loop.epoch_loop
            self._profile, loop._on_before_fetch = loop._on_before_fetch, self._before_batch

    def promise(self) -> str:
        """Say whether a run goes on bit by bit, as tests found for torch's loaders whose workers end with the epoch."""
        own = "Generator", "RandomState", "Random"  # types of what a dataset may draw from by itself
        stays = any(getattr(item, "persistent_workers", False) for item in tree_leaves(self.trainer.val_dataloaders))
        is_exact = not (stays or self.trainer.reload_dataloaders_every_n_epochs) and all(
            all(getattr(type(item), name, None) is getattr(DataLoader, name) for name in ("__iter__", "_get_iterator"))
            and (type(batches), item.persistent_workers) == (BatchSampler, False)
            and type(batches.sampler).__module__.startswith(("torch.utils.data.s", "torch.utils.data.dis"))
            and not any(type(part).__name__ in own for part in getattr(item.dataset, "__dict__", {}).values())
            for item, batches in zip(self.loaders, self.batches, strict=True)
        )
        return f"{'goes on in the same order,' if is_exact else 'can go on, but not'} bit by bit the same"

    def begin(self, is_epoch: bool) -> None:
        """Put back what an epoch or a step draws from, where a run goes on with it, and keep where an epoch begins."""
        if self.wanted:
            if self.wanted.get("batch") not in (None, self.checksum()):
                print("this data came in another order: the result will not be bit by bit the same")
            self.states(self.wanted)
            self.wanted = {}
        if is_epoch and self.is_needed:
            self.kept, self._draws = {"epoch": self.states()}, True
        elif self._draws and self.trainer.fit_loop.batch_idx == 1:  # batches that draw nothing need no states
            self._draws = not all(map(np.array_equal, *map(tree_leaves, (self.kept["last"], self.states()))))

    def _before_batch(self) -> None:
        self._profile()
        if self._draws:
            self.kept["last"] = self.states(self.wanted.get("last"))

    def read_past(self, start: dict[str, Any], num_batches: int) -> None:
        """Begin an epoch where it began, and read past batches of it."""
        loop, epoch = self.trainer.fit_loop, self.trainer.current_epoch
        if num_batches and self.trainer.is_global_zero:
            print(f"batches of this epoch to read past, to go on in the same order: {num_batches:,}")
        self.kept, self._draws = {"epoch": self.states(start)}, True
        for loader in self.loaders:
            _set_sampler_epoch(loader, epoch)
        fetcher = iter(loop._data_fetcher) if epoch else loop._data_fetcher  # the first has begun as it did before
        for _ in range(num_batches):
            next(fetcher)
        fetcher.fetched = 0  # Lightning counts them in

    def states(self, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return where the generators stand, which are put to `wanted` before."""
        if wanted:
            _set_rng_states({"torch": torch.get_rng_state(), **wanted})
            for generator, state in zip(self._own, wanted.get("own", ()), strict=False):
                generator.set_state(state)
        return _collect_rng_states(False) | {"own": [generator.get_state() for generator in self._own]}

    def checksum(self) -> int:
        """Return a number that tells the current batch from others."""
        leaves = tree_leaves(self.trainer._results.batch)
        return zlib.crc32(repr([leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]).encode())
