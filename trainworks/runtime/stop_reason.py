from datetime import timedelta
from typing import Any

from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason


def stop_reason(trainer: Any) -> str:
    """Say why a training that ended well took no further step."""
    epochs = trainer.fit_loop.epoch_progress.current.processed
    if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
        return f"all {trainer.max_steps:,} steps"
    if trainer.max_epochs not in (None, -1) and epochs >= trainer.max_epochs:
        return f"all {epochs:,} epochs"
    for callback in trainer.callbacks:
        if isinstance(callback, EarlyStopping) and callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
            if callback.stopping_reason == EarlyStoppingReason.PATIENCE_EXHAUSTED:
                return f"early stopping, {callback.wait_count} validations without a better {callback.monitor}"
            return f"early stopping: {(callback.stopping_reason_message or '').partition('. ')[0]}"
        if isinstance(callback, Timer) and callback._duration and callback.time_elapsed() >= callback._duration:
            return f"max_time {timedelta(seconds=callback._duration)}"
    return "a callback or the module stopped it"
