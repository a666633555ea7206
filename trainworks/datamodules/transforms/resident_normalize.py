import copy
from collections.abc import Sequence

import torch
from torch import nn
from torchvision.transforms import v2


def resident(transforms: Sequence[nn.Module], device: torch.device) -> list[nn.Module]:
    """Return the transforms, the numbers of each Normalize on a device: torchvision's copies them there in each step.

    The step would wait for that. The results are the same. Deviations of 0 stay numbers, which torchvision refuses.
    """
    moved = []
    for transform in transforms:
        if isinstance(transform, v2.Normalize) and all(transform.std):
            transform = copy.copy(transform)
            numbers = torch.tensor([transform.mean, transform.std], dtype=torch.float64, device=device)
            transform.mean, transform.std = numbers.unbind()
        moved.append(transform)
    return moved
