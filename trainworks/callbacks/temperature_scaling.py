import math
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainworks.callbacks.helpers.loggers import never_fatal, send_media, steps_so_far
from trainworks.errors import UsageError
from trainworks.models.metrics import ReliabilityDiagram


class TemperatureScaling(Callback):
    """Fit the temperature of a classifier to a validation, which calibrates its probabilities (arXiv:1706.04599).

    All logits are divided by the temperature, which changes no prediction. `validate --calibrate true` uses this
    callback and saves the temperature in the checkpoint. The figures calibration/before and calibration/after show the
    effect.

    Args:
        keep: Called with the temperature at the end.

    Raises:
        UsageError: If the module is no classifier, several processes validate, or no prediction is wrong.
    """

    def __init__(self, keep: Callable[[float], None]) -> None:
        self.keep = keep
        self._logits: list[Tensor] = []
        self._targets: list[Tensor] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the module and the number of processes."""
        if not hasattr(pl_module, "temperature"):
            raise UsageError(f"--calibrate true needs a ClassifierModule, got {type(pl_module).__name__}")
        if trainer.world_size > 1:
            raise UsageError(f"--calibrate true needs one process, got {trainer.world_size}; set --trainer.devices 1")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the temperature, so that the logits are those of the network."""
        pl_module.temperature = 1.0  # type: ignore[assignment]

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the logits and classes of the first validation set."""
        if dataloader_idx == 0:
            self._logits.append(outputs["predictions"].float().cpu())
            self._targets.append(outputs["targets"].cpu())

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Fit the temperature, print its effect, and draw both diagrams."""
        logits, targets = torch.cat(self._logits), torch.cat(self._targets)
        if bool((logits.argmax(dim=1) == targets).all()):
            reason = f"all {len(targets)} validation samples are classified right, so the best one is 0"
            raise UsageError(f"--calibrate true cannot fit a temperature: {reason}; validate on more samples")
        pl_module.temperature = fitted_temperature(logits, targets)
        entropies = []
        for name, scaled in (("before", logits), ("after", logits / pl_module.temperature)):
            diagram = ReliabilityDiagram()
            diagram.update(scaled, targets)
            entropies.append(f"{name} {float(cross_entropy(scaled, targets)):.4f}")
            with never_fatal(f"calibration/{name}"):
                send_media(trainer, f"calibration/{name}", diagram.plot()[0], steps_so_far(trainer))
        self.keep(pl_module.temperature)
        print(f"temperature {pl_module.temperature:.4f}; cross-entropy of the validation {', '.join(entropies)}")


def fitted_temperature(logits: Tensor, targets: Tensor) -> float:
    """Return the divisor of the logits, shape (N, K), with the lowest cross-entropy for classes of shape (N,)."""
    logits = logits.double()
    result = minimize_scalar(lambda log_temperature: float(cross_entropy(logits / math.exp(log_temperature), targets)))
    return math.exp(result.x)
