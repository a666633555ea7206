"""Functions that change a network; in a configuration their class_path is put around the network's own."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from trainworks.runs.weights import for_channels


@dataclass
class Init:
    """The initialization of some of a network's parameters.

    Args:
        function: Fills a tensor in place; any of torch.nn.init, such as `torch.nn.init.kaiming_normal_`.
        arguments: Its other arguments by name, such as `{nonlinearity: relu}`.
        pattern: Regular expression that is searched for in the parameter's name.
        layer: Regular expression for the whole name of the layer's class, such as `Conv2d|Linear`.
    """

    function: Callable[..., Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    pattern: str = "weight$"
    layer: str = ".*"


def initialized(net: nn.Module, rules: list[Init]) -> nn.Module:
    """Initialize parameters of a network otherwise than its layers do.

    Args:
        net: The network.
        rules: Applied in order; a parameter that matches none keeps its values.

    Raises:
        ValueError: If a rule matches no parameter, or its function cannot fill one.
    """
    for number, rule in enumerate(rules):
        chosen = {
            name: parameter
            for path, layer in net.named_modules()
            if re.fullmatch(rule.layer, type(layer).__name__)
            for name, parameter in layer.named_parameters(path, recurse=False)
            if re.search(rule.pattern, name)
        }
        if not chosen:
            raise ValueError(f"rules.{number}: no parameter has pattern '{rule.pattern}' and layer '{rule.layer}'")
        for name, parameter in chosen.items():
            try:
                with torch.no_grad():
                    rule.function(parameter, **rule.arguments)
            except (TypeError, ValueError) as error:
                shape = tuple(parameter.shape)
                raise ValueError(f"rules.{number} cannot fill {name} of shape {shape}: {error}") from None
    return net


def with_channels(net: nn.Module, in_channels: int) -> nn.Module:
    """Change a network's first convolution, its weights repeated and scaled, so that it takes other images than RGB.

    Args:
        net: The network, such as one of torchvision.models. Weights that `InitFrom` loads are repeated in the same way.
        in_channels: Number of channels of the images.
    """
    first = next((part for part in net.modules() if isinstance(part, nn.Conv2d)), None)
    if first is None or first.in_channels != 3:
        raise ValueError(f"with_channels: {type(net).__name__} must begin with a Conv2d of 3 channels, got {first}")
    weight, first.in_channels = first.weight.detach(), in_channels
    first.weight = nn.Parameter(for_channels(weight, [len(weight), in_channels, *weight.shape[2:]]))
    return net


def parametrized(
    net: nn.Module,
    function: Callable[..., Any],
    arguments: dict[str, Any] | None = None,
    pattern: str = "",
    layer: str = r"Conv\dd|Linear",
) -> nn.Module:
    """Parametrize the weights of some layers, for example by direction and length.

    Args:
        net: The network.
        function: Any of torch.nn.utils.parametrizations, such as `torch.nn.utils.parametrizations.weight_norm`.
        arguments: Its other arguments by name, such as `{n_power_iterations: 2}`.
        pattern: Regular expression that is searched for in the layer's name.
        layer: Regular expression for the whole name of the layer's class.

    Raises:
        ValueError: If no layer matches, or the function cannot change one.
    """
    chosen = [pair for pair in net.named_modules() if re.fullmatch(layer, type(pair[1]).__name__)]
    chosen = [pair for pair in chosen if re.search(pattern, pair[0])]
    if not chosen:
        raise ValueError(f"parametrized: no layer has pattern '{pattern}' and class '{layer}'")
    for path, part in chosen:
        try:
            function(part, **(arguments or {}))
        except (TypeError, ValueError) as error:
            raise ValueError(f"parametrized: {path} cannot be changed: {error}") from None
    return net
