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
    """Keeps where generators stood before an epoch, and before each of the last two batches was read.

    The training draws from them too, between any two batches, and one batch may have been read ahead. Loaders that can
    begin within an epoch need nothing: those of a BaseDataModule, and those with a state of their own.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.loop, self.loaders = trainer, trainer.fit_loop, trainer.fit_loop._combined_loader.flattened
        ways = [(getattr(loader, "batch_sampler", None), "continue_at") for loader in self.loaders]
        ways += [(loader, "load_state_dict") for loader in self.loaders]
        self.is_needed = sum(hasattr(*way) for way in ways) < len(self.loaders)
        self.kept, self._wanted, self._draws = dict[str, Any](), dict[str, Any](), self.is_needed
        if self.is_needed:
            loop = self.loop.epoch_loop
            self._profile, loop._on_before_fetch = loop._on_before_fetch, self._before_batch

    @property
    def is_exact(self) -> bool:
        """Whether tests found that these go on bit by bit: torch's in all parts, whose workers end with the epoch."""
        return all(
            type(loader).__iter__ is DataLoader.__iter__
            and type(loader.batch_sampler) is BatchSampler
            and type(loader.sampler).__module__.startswith("torch.utils.data.")
            and hasattr(loader.dataset, "__len__")
            and not loader.persistent_workers
            for loader in self.loaders
        )

    def begin_epoch(self) -> None:
        """Keep where an epoch begins."""
        self._put(self._wanted)
        self._wanted, self._draws = {}, self.is_needed
        self.kept = {"epoch": self._states(), "batches": []}

    def _before_batch(self) -> None:
        self._profile()
        self._put(*self._wanted.get("batches", ())[-1:])
        if self._draws:
            self.kept["batches"] = [*self.kept["batches"][-1:], self._states()]

    def begin_step(self) -> None:
        """Put back what the step draws from, and see in an epoch's second one whether its batch was drawn."""
        if self._wanted:
            if self._wanted.get("batch") not in (None, self._checksum()):
                print("this data came in another order: the result will not be bit by bit the same")
            self._put(self._wanted)
            self._wanted = {}
        if self._draws and self.loop.batch_idx == 1:
            before, after = tree_leaves(self.kept["batches"][-1]), tree_leaves(self._states())
            self._draws = not all(map(np.array_equal, before, after))

    def state(self, point: str) -> dict[str, Any]:
        """Return what lets the training go on from a point."""
        within = self.is_needed and point == "batch"
        return self._states() | (self.kept | {"batch": self._checksum()} if within else {})

    def go_on(self, state: dict[str, Any], num_batches: int) -> None:
        """Go on from a state, past so many batches of an epoch."""
        self._wanted = state
        if not self.is_needed:
            return
        within = self.loop._resuming_from_checkpoint = "epoch" in state  # else an epoch begins as any other
        if num_batches and self.trainer.is_global_zero:
            past = f"reads past {num_batches:,} batches of this epoch, to go on in the same order"
            lost = "this data can only be read from its start: the result will not be bit by bit the same"
            print(past if within else lost)
        if within:
            self._read_past(num_batches, **{name: state[name] for name in ("epoch", "batches")})

    def _read_past(self, num_batches: int, epoch: dict[str, Any], batches: list[Any]) -> None:
        fetcher, self.kept = self.loop._data_fetcher, {"epoch": epoch, "batches": batches[:-1]}
        self._put(epoch)
        if self.trainer.current_epoch:  # the first has begun already, as it did before
            for loader in self.loaders:
                _set_sampler_epoch(loader, self.trainer.current_epoch)
            iter(fetcher)
        for number in range(num_batches):
            if number == num_batches - 1:
                self._put(*batches[:1])
            next(fetcher)
        fetcher.fetched = 0  # Lightning counts them in

    def _generators(self) -> list[Any]:
        parts = [part for loader in self.loaders for part in (loader, getattr(loader, "sampler", None))]
        return [item for part in parts if (item := getattr(part, "generator", None)) is not None]

    def _states(self) -> dict[str, Any]:
        own = [generator.get_state() for generator in self._generators()]
        return _collect_rng_states(torch.cuda.is_initialized()) | {"own": own}

    def _put(self, states: dict[str, Any] | None = None) -> None:
        if states:
            on_gpus = states.get("torch.cuda", [])[: torch.cuda.device_count()]
            _set_rng_states({"torch": torch.get_rng_state(), **states, "torch.cuda": on_gpus})
            for generator, state in zip(self._generators(), states.get("own", ()), strict=False):
                generator.set_state(state)

    def _checksum(self) -> int:
        leaves = [leaf for leaf in tree_leaves(self.trainer._results.batch) if isinstance(leaf, torch.Tensor)]
        return zlib.crc32(b"".join(leaf.cpu().flatten().view(torch.uint8).numpy().tobytes() for leaf in leaves))
