"""A callback that ends a run where the environment says."""

import os
import signal
from typing import Any

from lightning.pytorch import Callback


class Bomb(Callback):
    """Fails where the variable BOMB says: HOOK:NUMBER, a batch counted over all epochs, else an epoch.

    The hook kill is a batch before which the process is killed.
    """

    def _explode(self, trainer: Any, hook: str, number: int) -> None:
        if os.environ.get("BOMB") == f"{hook}:{number}" and not trainer.sanity_checking:
            if hook == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyError("bomb")

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        for hook in ("batch", "kill"):
            self._explode(trainer, hook, trainer.fit_loop.total_batch_idx)

    def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
        self._explode(trainer, "epoch_start", trainer.current_epoch)

    def on_validation_start(self, trainer: Any, *_: Any) -> None:
        self._explode(trainer, "validation_start", trainer.current_epoch)

    def on_validation_end(self, trainer: Any, *_: Any) -> None:
        self._explode(trainer, "validation_end", trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        self._explode(trainer, "epoch_end", trainer.current_epoch)

    def on_test_start(self, trainer: Any, *_: Any) -> None:
        self._explode(trainer, "test_start", trainer.current_epoch)
