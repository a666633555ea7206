from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from trainworks.callbacks.helpers.batch import inputs_of
from trainworks.runtime.cores import allowed_cores
from trainworks.runtime.threads import is_stated, worthwhile_threads


class ThreadLimit(Callback):
    """Set torch's number of threads to what the network is worth, from the first batch on, the same on every rank.

    Args:
        begun: Number of threads that a continued run began with. It is kept, so that floating-point sums stay the same.
        keep: Called with the number of threads when the first training batch is done, to save it with the run.
    """

    def __init__(self, begun: int | None = None, keep: Callable[[int], object] | None = None) -> None:
        self.begun, self.keep = begun, keep
        self._max_threads, self._is_stated = torch.get_num_threads(), is_stated()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Set the number of threads that the run began with."""
        if self.begun is not None:
            torch.set_num_threads(self.begun)

    def _choose(self, trainer: Any, pl_module: LightningModule, batch: Any, *_: Any) -> None:
        """Choose the number of threads from the first batch of the command."""
        if trainer.sanity_checking:
            return
        for stage in ("train", "validation", "test", "predict"):
            setattr(self, f"on_{stage}_batch_start", None)  # Lightning calls no hook that is None
        number = self._max_threads
        if not self._is_stated:
            cores = min(self._max_threads, allowed_cores(trainer.num_devices))
            number = worthwhile_threads(pl_module, inputs_of(batch), cores)
        number = trainer.strategy.broadcast(number)
        if self.begun not in (None, number) and trainer.is_global_zero:
            print(f"the run goes on with {self.begun} threads, as it began; a new one would take {number} here")
        torch.set_num_threads(self.begun or number)

    on_train_batch_start = on_validation_batch_start = on_test_batch_start = on_predict_batch_start = _choose  # type: ignore[assignment]

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save the number with the run, which has something to keep now."""
        self.on_train_batch_end = None  # type: ignore[assignment,method-assign]
        if self.keep is not None and trainer.is_global_zero:
            self.keep(torch.get_num_threads())
