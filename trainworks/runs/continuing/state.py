"""What a checkpoint holds so that a training continues exactly, and how it is put back."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from trainworks.runs.continuing.loaders import LoaderOrder

EXACT_STATE = "exact"  # the key under which a checkpoint holds it
COUNTERS = ("ready", "started", "processed", "completed")  # of Lightning's progress


@dataclass
class Start:
    """Where a training begins or continues."""

    path: Path | None = None  # the checkpoint; None at the very beginning
    step: int = 0  # after it, as loggers count them
    within_epoch: bool = False  # whether it stands between the batches of an epoch
    finished: bool = False  # whether the training ended there
    exact: bool = True  # whether it was saved at a point from which the training goes on exactly
    world_size: int = 1  # processes that saved it
    metrics: dict[str, float] = field(default_factory=dict)  # the last before it
    device: str = ""  # the kind that it was saved on; empty if it does not say


def exact_state(order: LoaderOrder, point: str, folder: Path, device: str, group: Any) -> dict[str, Any]:
    """Return what a checkpoint needs beside Lightning's state for an exact continuation; called on every rank.

    The training stands before a "batch", before an "epoch" or at the "end"; `folder` is that of the checkpoints,
    `device` the kind that it runs on, `group` a process group on the CPU, where there are several ranks.
    """
    trainer = order.trainer
    own = order.states() | {"sums": getattr(trainer.lightning_module, "metric_state", lambda: None)()}
    own |= order.kept | {"batch": order.checksum()} if point == "batch" and order.is_needed else {}
    ranks: list[Any] = [own]
    if trainer.world_size > 1:
        ranks = [None] * trainer.world_size
        dist.all_gather_object(ranks, own, group)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    where = {"folder": os.path.realpath(folder), "device": device}
    return {"finished": point == "end", "ranks": ranks, "metrics": metrics} | where


def complete_progress(loops: dict[str, Any], point: str) -> None:
    """Let the counters of a checkpoint say that all that was begun is done, but for what begins at `point`."""
    batches, epochs = loops["epoch_loop.batch_progress"], loops["epoch_progress"]
    for counters in (batches,) if point == "batch" else (batches, epochs):
        for part in ("total", "current"):
            counters[part] |= dict.fromkeys(COUNTERS, counters[part]["processed"])
    batches["is_last_batch"] = False
    if point != "batch":
        batches["current"] |= dict.fromkeys(COUNTERS, 0)


def restore(order: LoaderOrder, state: dict[str, Any]) -> None:
    """Put generators, metrics, loaders and loops where the training stood that saved this state."""
    trainer, fit_loop = order.trainer, order.trainer.fit_loop
    own = order.wanted = state["ranks"][trainer.global_rank] if len(state["ranks"]) == trainer.world_size else {}
    if own.get("sums") is not None:
        trainer.lightning_module.load_metric_state(own["sums"])
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in state["metrics"].items()})
    loop = fit_loop.epoch_loop
    done = loop.batch_progress.current.ready
    fit_loop._resuming_from_checkpoint = "epoch" in own or not order.is_needed  # else an epoch begins as any other
    if "epoch" in own:
        order.read_past(own["epoch"], done)
    for batches in order.batches:
        if hasattr(batches, "num_skipped") and not order.is_needed:
            batches.num_skipped = done
            batches.sampler.set_epoch(trainer.current_epoch)
            iter(fit_loop._data_fetcher)  # its workers may have begun already, from the start of the epoch
    reset = loop.reset

    def reset_once() -> None:
        """Keep the counters, but not Lightning's guesses about what was left undone: nothing was."""
        del loop.reset
        reset()
        loop._restarting = fit_loop._restarting = False

    loop.reset = reset_once


def with_moved_paths(node: Any, old: str, new: str) -> Any:
    """Return the states of callbacks with paths below one folder put below another."""
    if isinstance(node, dict):
        return {with_moved_paths(key, old, new): with_moved_paths(item, old, new) for key, item in node.items()}
    return new + node[len(old) :] if isinstance(node, str) and node.startswith(old) else node
