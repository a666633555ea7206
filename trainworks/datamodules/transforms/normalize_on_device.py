import copy
from collections.abc import Sequence

import torch
from torch import nn
from torchvision.transforms import v2


def normalize_on_device(transforms: Sequence[nn.Module], device: torch.device) -> list[nn.Module]:
    """Return the transforms with mean and deviation of each Normalize on a device.

    torchvision's Normalize copies them to the device in each step, and the step waits for that. The results are the
    same. Where a deviation is 0 the transform stays as it is, since torchvision must refuse it.
    """
    moved = []
    for transform in transforms:
        if isinstance(transform, v2.Normalize) and all(transform.std):
            transform = copy.copy(transform)
            values = torch.tensor([transform.mean, transform.std], dtype=torch.float64, device=device)
            transform.mean, transform.std = values.unbind()
        moved.append(transform)
    return moved
