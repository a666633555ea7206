import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosine(LambdaLR):
    """Raise the learning rate linearly from near zero, then let it fall along a cosine (arXiv:1608.03983).

    Args:
        optimizer: Optimizer whose learning rates are scaled.
        total_steps: Optimizer steps of the whole training; filled in from the trainer if left out.
        warmup: Share of the steps in which the rate rises, in [0, 1).
        final: Last rate as a share of the first, in [0, 1].
    """

    def __init__(
        self, optimizer: Optimizer, total_steps: int | None = None, warmup: float = 0.1, final: float = 0.0
    ) -> None:
        if not 0 <= warmup < 1 or not 0 <= final <= 1:
            raise ValueError(f"warmup must be in [0, 1) and final in [0, 1], got {warmup} and {final}")
        if total_steps is None or total_steps < 1:
            raise ValueError(f"total_steps must be at least 1, got {total_steps}")
        self.total_steps, self.warmup, self.final = total_steps, warmup, final
        super().__init__(optimizer, self._scale)

    def _scale(self, step: int) -> float:
        rising = round(self.warmup * self.total_steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        progress = min((step - rising) / max(self.total_steps - rising, 1), 1.0)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))
