"""Functions that take a network and give it back changed, to stand as `class_path` around the network's own."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@dataclass
class Init:
    """How some of a network's parameters begin.

    Args:
        function: Fills a tensor in place; any of torch.nn.init, such as `torch.nn.init.kaiming_normal_`.
        arguments: Its other arguments by name, such as `{nonlinearity: relu}`.
        pattern: Regular expression, found somewhere in the parameter's name.
        layer: Regular expression for the whole name of the layer's class, such as `Conv2d|Linear`.
    """

    function: Callable[..., Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    pattern: str = "weight$"
    layer: str = ".*"


def initialized(net: nn.Module, rules: list[Init]) -> nn.Module:
    """Let a network's parameters begin with other values than its layers choose.

    Args:
        net: The network.
        rules: Applied one after the other; what fits none keeps its values.

    Raises:
        ValueError: If a rule fits no parameter, or its function cannot fill one.
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


def parametrized(
    net: nn.Module,
    function: Callable[..., Any],
    arguments: dict[str, Any] | None = None,
    pattern: str = "",
    layer: str = r"Conv\dd|Linear",
) -> nn.Module:
    """Compute the weights of some layers from others, such as a direction and a length.

    Args:
        net: The network.
        function: Any of torch.nn.utils.parametrizations, such as `torch.nn.utils.parametrizations.weight_norm`.
        arguments: Its other arguments by name, such as `{n_power_iterations: 2}`.
        pattern: Regular expression, found somewhere in the layer's name.
        layer: Regular expression for the whole name of the layer's class.

    Raises:
        ValueError: If no layer fits, or the function cannot change one.
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
