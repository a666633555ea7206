from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from src.datamodules.transforms.drawn import images_of, not_boxes, of_type


class RandomFlip(v2.Transform):
    """Mirror each image left to right, or leave it, by its own coin.

    Args:
        p: Probability of mirroring, in [0, 1].
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"RandomFlip: p must be in [0, 1], got {p}")
        self.p = p

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw a coin for every sample: a boolean tensor of shape (B,)."""
        images = images_of(flat_inputs)
        return {"flip": torch.rand(len(images), device=images.device) < self.p}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Flip images of shape (B, ..., H, W)."""
        both = torch.cat([not_boxes(inpt), inpt.flip(-1)])
        chosen = torch.arange(len(inpt), device=inpt.device) + len(inpt) * params["flip"]
        return of_type(both.index_select(0, chosen), inpt)  # faster than torch.where
