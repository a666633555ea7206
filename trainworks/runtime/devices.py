"""The devices of a training."""

import torch
from lightning.pytorch import Trainer


def device_name(trainer: Trainer) -> str:
    """Return the kind of device that a trainer uses, such as cpu or the name of a GPU."""
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
