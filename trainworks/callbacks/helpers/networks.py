from lightning.pytorch import Callback
from torch import nn

from trainworks.errors import UsageError


def networks_of(callback: Callback, module: nn.Module) -> list[nn.Module]:
    """Return the networks of a module: its `net`, or else whatever in it has parameters."""
    net = getattr(module, "net", None)
    found = [net] if isinstance(net, nn.Module) else [part for part in module.children() if list(part.parameters())]
    if not found:
        raise UsageError(f"{type(callback).__name__}: {type(module).__name__} holds no network")
    return found
