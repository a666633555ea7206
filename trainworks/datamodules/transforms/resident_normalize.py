from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2


class ResidentNormalize(v2.Normalize):
    """torchvision's Normalize with its numbers on a device: its own copies them there in each step, and waits for it.

    Args:
        like: The one that it replaces; the results are the same.
        device: Where the images are.
    """

    def __init__(self, like: v2.Normalize, device: torch.device) -> None:
        super().__init__(like.mean, like.std, like.inplace)
        numbers = torch.tensor([like.mean, like.std], dtype=torch.float64, device=device)
        self._mean, self._std = numbers[:, :, None, None].unbind()

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Normalize images of floating-point numbers, shape (..., C, H, W)."""
        if not inpt.is_floating_point():
            return super().transform(inpt, params)  # masks stay; images of whole numbers are an error
        images = inpt.as_subclass(Tensor)
        mean, std = self._mean.to(images.dtype), self._std.to(images.dtype)
        result = (images.sub_(mean) if self.inplace else images.sub(mean)).div_(std)
        return tv_tensors.wrap(result, like=inpt) if isinstance(inpt, tv_tensors.TVTensor) else result


def resident(transforms: Sequence[nn.Module], device: torch.device) -> list[nn.Module]:
    """Return the transforms with each Normalize replaced, but for deviations of 0, which torchvision refuses."""
    return [ResidentNormalize(t, device) if isinstance(t, v2.Normalize) and all(t.std) else t for t in transforms]
