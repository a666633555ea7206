from collections import Counter
from collections.abc import Iterator

from torch import nn

CONTAINERS = (nn.Sequential, nn.ModuleList)


def blocks(net: nn.Module, min_num_parameters: int = 0) -> list[nn.Module]:
    """Return the blocks of a network, from the input to the output: the modules that its lists and sequences hold.

    Sequences within sequences are opened, down to the blocks of a residual network or a transformer.

    Args:
        net: The network.
        min_num_parameters: Smaller blocks are left out, and so are those that share parameters with others.
    """
    owners = Counter(id(parameter) for module in net.modules() for parameter in module.parameters(recurse=False))
    return [
        block
        for block in _blocks(net)
        if sum(parameter.numel() for parameter in block.parameters()) >= max(min_num_parameters, 1)
        and not any(owners[id(parameter)] > 1 for parameter in block.parameters())
    ]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if type(module) in CONTAINERS and type(child) not in CONTAINERS:
            yield child
        else:
            yield from _blocks(child)
