import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch.optim import LBFGS, Optimizer

from trainworks.errors import listed
from trainworks.optim.parameters import Kind, Parameters


@dataclass
class OptimizerPart:
    """One optimizer and the parameters that it trains.

    Args:
        optimizer: Is built over these parameters.
        pattern: Regular expression that is found in the parameter's name, such as `head` or `^net.layers`.
        kind: Which parameters it trains: weights of embeddings ("embedding"), those of embeddings with sparse gradients
            ("sparse"), other parameters of two dimensions ("matrix"), or all others ("other").
    """

    optimizer: OptimizerCallable
    pattern: str = ""
    kind: Kind = "any"

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern must be a regular expression, got {self.pattern!r}: {error}") from None


class OptimizerByName(Optimizer):
    """Several optimizers that act as one, each on its own parameters.

    A scheduler, gradient clipping and checkpoints see the parameter groups of all of them as those of one optimizer.

    Args:
        parameters: All trainable parameters.
        parts: Each parameter goes to the first part whose pattern and kind fit.

    Raises:
        ValueError: If a part takes no parameter, a parameter is taken by no part, or a part cannot share a step.
    """

    def __init__(self, parameters: Parameters, parts: list[OptimizerPart]) -> None:
        optimizers: list[Optimizer] = []
        rest, kinds = dict(parameters.named), parameters.kinds
        for number, part in enumerate(parts):
            fits = [n for n, p in rest.items() if part.kind in ("any", kinds[id(p)]) and re.search(part.pattern, n)]
            if not fits:
                wanted = f"pattern '{part.pattern}' and kind {part.kind}"
                raise ValueError(f"model.optimizer.parts.{number} takes no parameter: none that is left has {wanted}")
            optimizers.append(parameters.build(part.optimizer, [rest.pop(name) for name in fits]))
            if isinstance(optimizers[-1], LBFGS):
                raise ValueError(f"model.optimizer.parts.{number}: LBFGS computes the loss several times; use it alone")
        if rest:
            advice = "add a last part without pattern and kind"
            raise ValueError(f"model.optimizer.parts: no part takes {listed(list(rest))}; {advice}")
        shared = set.intersection(*(set(optimizer.defaults) for optimizer in optimizers))
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        super().__init__(groups, {key: optimizers[0].defaults[key] for key in sorted(shared)})
        for optimizer in optimizers:
            self.state.update(optimizer.state)
        self.optimizers = optimizers
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Compute the loss once, then make a step with each optimizer."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of all optimizers."""
        super().load_state_dict(state_dict)
        self._share()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refuse parameters that are added later: none of the optimizers would train them."""
        if hasattr(self, "optimizers"):
            raise ValueError("OptimizerByName takes no further parameters; let them require gradients from the start")
        super().add_param_group(param_group)

    def _share(self) -> None:
        """Give each optimizer its own parameter groups, and all of them one state."""
        first = 0
        for optimizer in self.optimizers:
            last = first + len(optimizer.param_groups)
            groups = self.param_groups[first:last]
            own = {p: self.state[p] for group in groups for p in group["params"] if p in self.state}
            optimizer.__setstate__({"state": own, "param_groups": groups})  # also updates states of older versions
            optimizer.state = self.state
            first = last
