"""The layers of a network, and which of them are blocks."""

from collections import Counter
from collections.abc import Iterator

from torch import nn

CONTAINERS = (nn.Sequential, nn.ModuleList)


def blocks(net: nn.Module, min_num_parameters: int = 0) -> list[nn.Module]:
    """Return the blocks of a network, from the input to the output: the modules that its lists and sequences hold.

    Sequences within sequences are opened, down to the blocks of a residual network or a transformer. Blocks of fewer
    parameters than `min_num_parameters` are left out, and so are those that share parameters with others.
    """
    owners = Counter(id(parameter) for module in net.modules() for parameter in module.parameters(recurse=False))
    return [
        layer
        for layer, is_block in layers(net)
        if is_block
        and sum(parameter.numel() for parameter in layer.parameters()) >= max(min_num_parameters, 1)
        and not any(owners[id(parameter)] > 1 for parameter in layer.parameters())
    ]


def layers(module: nn.Module) -> Iterator[tuple[nn.Module, bool]]:
    """Yield the layers of a network, from the input to the output, each with whether it is a block.

    Children are layers, but containers are opened, and so is what holds some; what a container holds is a block.
    """
    in_container = type(module) in CONTAINERS
    for child in module.children():
        holds_blocks = any(type(part) in CONTAINERS for part in child.modules())
        if type(child) in CONTAINERS or (holds_blocks and not in_container):
            yield from layers(child)
        else:
            yield child, in_container
