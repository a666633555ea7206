import sys
from typing import Any

import torch

from trainworks.errors import listed

# with which a checkpoint, a scheduler and early stopping pass over an epoch
PASSIVE = {"save_top_k": 0, "frequency": sys.maxsize, "strict": False}


class LeftOut:
    """Leaves out what has no value in an epoch, and lets what monitors it pass over that epoch."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._usual: dict[int, Any] = {}  # what is switched off has this setting otherwise

    def without(self, trainer: Any, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values that are not NaN on any process; losses stay as they are."""
        names = [name for name in values if not name.endswith("/loss")]
        if not names:
            return values
        device = trainer.strategy.root_device
        unknown = torch.stack([torch.as_tensor(values[name], device=device).isnan().float() for name in names])
        counts = trainer.strategy.reduce(unknown, reduce_op="sum").tolist()
        missing = [name for name, count in zip(names, counts, strict=True) if count]
        for name in missing:  # else the last epoch's value stays there
            trainer.callback_metrics.pop(name, None)
        monitored = [] if trainer.sanity_checking else self._pass_over(trainer, missing, values)
        new = [name for name in missing if name not in self._said]
        if new and trainer.is_global_zero and not trainer.sanity_checking:
            when = f" in epoch {trainer.current_epoch + 1}" if trainer.state.fn == "fit" else ""
            effect = f"; such an epoch does not count for {', '.join(monitored)}" if monitored else ""
            print(f"nothing to count{when}, or NaN, and left out: {listed(new)}{effect}")
            self._said.update(new)
        return {name: value for name, value in values.items() if name not in missing}

    def _pass_over(self, trainer: Any, missing: list[str], values: dict[str, Any]) -> list[str]:
        """Switch off what monitors a missing value, and on again what monitors a value; return the former's names."""
        passing: list[str] = []
        for owner in watching(trainer):
            attribute = next((name for name in PASSIVE if hasattr(owner, name)), None)
            if attribute is None or owner.monitor not in values:
                continue
            if owner.monitor in missing:
                self._usual.setdefault(id(owner), getattr(owner, attribute))
                setattr(owner, attribute, PASSIVE[attribute])
                passing.append(type(getattr(owner, "scheduler", owner)).__name__)
            elif id(owner) in self._usual:
                setattr(owner, attribute, self._usual.pop(id(owner)))
        return passing


def watching(trainer: Any) -> list[Any]:
    """Return the callbacks and the configurations of schedulers that monitor a metric."""
    plateaus = [config for config in trainer.lr_scheduler_configs if config.reduce_on_plateau]
    return [owner for owner in (*trainer.callbacks, *plateaus) if isinstance(getattr(owner, "monitor", None), str)]
