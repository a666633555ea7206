import torch
from torch import Tensor, nn


class Rescaled(nn.Module):
    """A network whose standardized outputs are scaled to the units of the targets.

    Args:
        net: Maps inputs to outputs of shape (B, K).
        mean: Mean of each target, K numbers; `${data.init_args.target_mean}` takes them from the training samples.
        std: Standard deviation of each, above 0; `${data.init_args.target_std}` likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std, default=0) <= 0:
            raise ValueError(f"Rescaled needs as many means as deviations, all above 0; got {mean} and {std}")
        self.net = net
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs to outputs in the targets' units, shape (B, K)."""
        return self.net(inputs) * self.std + self.mean
