from collections.abc import Iterator

from torch import nn

from trainworks.runtime.blocks import CONTAINERS


def learning_rate_scales(net: nn.Module, decay: float) -> dict[int, float]:
    """Return the factor on the learning rate of each parameter of a network, by the parameter's id."""
    layers = [layer for layer in _layers(net) if next(layer.parameters(), None) is not None]
    scales = dict.fromkeys(map(id, net.parameters()), decay ** (len(layers) - 1))  # class tokens and the like too
    for depth, layer in reversed(list(enumerate(layers))):  # a shared parameter has the factor of its first layer
        scales |= dict.fromkeys(map(id, layer.parameters()), decay ** (len(layers) - 1 - depth))
    return scales


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of a network, from the input to the output; containers are opened."""
    inside = type(module) in CONTAINERS
    for child in module.children():
        holds_blocks = any(type(part) in CONTAINERS for part in child.modules())
        if type(child) in CONTAINERS or (holds_blocks and not inside):
            yield from _layers(child)
        else:
            yield child
