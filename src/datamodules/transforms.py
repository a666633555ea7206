"""Batch transforms that draw anew for each sample; torchvision's draw once for the whole batch they are given."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2


class RandomShift(v2.Transform):
    """Shift each image by its own random offset; what comes in at the edge is filled.

    The same as padding and then cropping at a random place (torchvision's RandomCrop with padding).

    Args:
        pixels: Largest shift in each direction, at least 1.
        fill: Value of the new pixels, in the images' own range.

    Raises:
        ValueError: If `pixels` is below 1.
    """

    def __init__(self, pixels: int, fill: float = 0) -> None:
        super().__init__()
        if pixels < 1:
            raise ValueError(f"RandomShift: pixels must be at least 1, got {pixels}")
        self.pixels, self.fill = pixels, fill

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw an offset for every sample: two tensors of shape (B,), values in [0, 2 * pixels]."""
        images = _images(flat_inputs)
        high = 2 * self.pixels + 1
        top, left = torch.randint(high, (2, len(images)), device=images.device).unbind()
        return {"top": top, "left": left}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Shift images of shape (B, C, H, W)."""
        height, width = inpt.shape[-2:]
        padded = nn.functional.pad(inpt, [self.pixels] * 4, value=self.fill)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, 2p+1, 2p+1, H, W), a view
        shifted = windows[torch.arange(len(inpt), device=inpt.device), :, params["top"], params["left"]]
        return _of_type(shifted, inpt)


class RandomFlip(v2.Transform):
    """Mirror each image left to right, or leave it, by its own coin.

    Args:
        p: Probability of mirroring, in [0, 1].

    Raises:
        ValueError: If `p` is out of range.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"RandomFlip: p must be in [0, 1], got {p}")
        self.p = p

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw a coin for every sample: a boolean tensor of shape (B, 1, 1, 1)."""
        images = _images(flat_inputs)
        return {"flip": torch.rand(len(images), 1, 1, 1, device=images.device) < self.p}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Flip images of shape (B, C, H, W)."""
        return _of_type(torch.where(params["flip"], inpt.flip(-1), inpt), inpt)


def _images(inputs: list[Any]) -> Tensor:
    """Return the batch of images, the first tensor of shape (B, C, H, W)."""
    return next(item for item in inputs if isinstance(item, Tensor) and item.ndim == 4)


def _of_type(result: Tensor, given: Tensor) -> Tensor:
    """Keep masks masks and images images."""
    wrapped: Tensor = tv_tensors.wrap(result, like=given) if isinstance(given, tv_tensors.TVTensor) else result
    return wrapped
