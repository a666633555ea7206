"""The networks of a module, which callbacks change in place."""

from lightning.pytorch import Callback
from torch import nn

from trainworks.errors import UsageError
from trainworks.models.base import BaseModule
from trainworks.models.checks import MissingPart


def networks_of(callback: Callback, module: nn.Module) -> list[nn.Module]:
    """Return the `net` of a module, or else all its children that have parameters."""
    net = getattr(module, "net", None)
    networks = [net] if isinstance(net, nn.Module) else [part for part in module.children() if list(part.parameters())]
    if not networks:
        lacking = UsageError(f"{type(callback).__name__}: {type(module).__name__} holds no network")
        raise MissingPart(module, "net") if isinstance(module, BaseModule) else lacking
    return networks
