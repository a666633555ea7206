"""Going on from what `LastCheckpoint` saved. Only a run that continues loads this."""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer

from trainworks.datamodules.samplers import ArrayBatchSampler
from trainworks.models.base import BaseModule


def go_on(trainer: Trainer, state: dict[str, Any]) -> None:
    """Put the training where the loaded state ended."""
    if len(state["ranks"]) == trainer.world_size:
        own = state["ranks"][trainer.global_rank]
        version, numbers, gauss = own["python"]
        random.setstate((version, tuple(numbers), gauss))
        name, keys, *rest = own["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
        if isinstance(module := trainer.lightning_module, BaseModule):
            module.load_metric_state(own["sums"])
    trainer._logger_connector._callback_metrics.update({k: torch.tensor(v) for k, v in state["metrics"].items()})
    fit_loop: Any = trainer.fit_loop
    loop = fit_loop.epoch_loop
    done = loop.batch_progress.current.ready
    for loader in fit_loop._combined_loader.flattened:
        if isinstance(batches := getattr(loader, "batch_sampler", None), ArrayBatchSampler):
            batches.start = done
            batches.sampler.set_epoch(trainer.current_epoch)  # type: ignore[union-attr]
            iter(fit_loop._data_fetcher)  # its workers may have begun already, from the start of the epoch
        elif done and trainer.is_global_zero:
            print("this data can only be read from its start: the result will not be bit by bit the same")
    reset = loop.reset

    def reset_once() -> None:
        """Keep the counters, but not Lightning's guesses about what was left undone: nothing was."""
        del loop.reset
        reset()
        loop._restarting = fit_loop._restarting = False

    loop.reset = reset_once


def moved(node: Any, old: str, new: str) -> Any:
    """Return the states of callbacks with paths below one folder put below another."""
    if isinstance(node, dict):
        return {moved(key, old, new): moved(value, old, new) for key, value in node.items()}
    return new + node[len(old) :] if isinstance(node, str) and node.startswith(old) else node
