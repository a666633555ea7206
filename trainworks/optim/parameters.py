from collections.abc import Iterable, Iterator
from typing import Any, Literal

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer, SparseAdam

from trainworks.optim.fused import prefer_fused

Kind = Literal["any", "matrix", "embedding", "sparse", "other"]


class Factories(tuple[Any, ...]):
    """Factories of optimizer and scheduler; copies of a module share them, since not all of them can be copied."""

    def __deepcopy__(self, memo: Any) -> "Factories":
        return self


class Parameters:
    """The trainable parameters of a module, and the groups that they form in an optimizer.

    Args:
        module: Holds the parameters.
        decay_norm_and_bias: Whether weight decay also acts on biases and on norm layers. If not, they form groups of
            their own without it, unless the optimizer has no weight decay.
        layer_decay: Factor from the learning rate of one layer of `module.net` to that of the layer before it, in
            (0, 1] (arXiv:1801.06146). The last layer has the full rate. Children count as layers, in the order in
            which they were made; containers are opened, down to the blocks of a residual network or a transformer.
    """

    def __init__(self, module: nn.Module, decay_norm_and_bias: bool = False, layer_decay: float = 1.0) -> None:
        if not 0 < layer_decay <= 1:
            raise ValueError(f"model.layer_decay must be in (0, 1], got {layer_decay}")
        self.named = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        norms = [layer for layer in module.modules() if "Norm" in type(layer).__name__]
        exempt = {id(parameter) for layer in norms for parameter in layer.parameters(recurse=False)}
        exempt |= {id(parameter) for parameter in self if parameter.ndim <= 1}  # biases, and scales of unnamed norms
        self._exempt = set() if decay_norm_and_bias else exempt
        self.kinds: dict[int, Kind] = {id(p): "matrix" if p.ndim == 2 else "other" for p in module.parameters()}
        for layer in module.modules():
            if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
                self.kinds[id(layer.weight)] = "sparse" if layer.sparse else "embedding"
        self._scales = _learning_rate_scales(getattr(module, "net", module), layer_decay) if layer_decay < 1 else {}

    def __iter__(self) -> Iterator[nn.Parameter]:
        return iter(self.named.values())

    def build(self, factory: OptimizerCallable, members: Iterable[nn.Parameter]) -> Optimizer:
        """Build an optimizer over some of the parameters, in groups if they differ in weight decay or learning rate."""
        optimizer = self._build_ungrouped(factory, members)
        if hasattr(optimizer, "optimizers"):  # OptimizerByName has built its own from the groups
            return optimizer
        exempt = self._exempt if optimizer.defaults.get("weight_decay") else set()
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for parameter in members:
            key = -self._scales.get(id(parameter), 1.0), id(parameter) in exempt
            groups.setdefault(key, []).append(parameter)
        if list(groups) == [(-1.0, False)]:
            return optimizer
        if isinstance(optimizer, LBFGS):
            raise ValueError("LBFGS has one learning rate for all parameters; leave model.layer_decay at 1")
        options = [
            {"params": group, "lr": -scale * optimizer.defaults["lr"]} | ({"weight_decay": 0.0} if without else {})
            for (scale, without), group in sorted(groups.items(), key=lambda item: item[0])
        ]
        return factory(options)

    def _build_ungrouped(self, factory: OptimizerCallable, members: Iterable[nn.Parameter]) -> Optimizer:
        """Build an optimizer without groups; raise a ValueError if it cannot train these parameters."""
        advice = "give it those of kind {} in trainworks.optim.OptimizerByName, and the others to another optimizer"
        try:
            optimizer = factory(members)
        except ValueError as error:
            if "only supports 2D parameters" in str(error):  # Muon
                raise ValueError(f"{str(error).replace('whereas we', 'but')}; {advice.format('matrix')}") from None
            raise
        if isinstance(optimizer, SparseAdam) and any(self.kinds[id(member)] != "sparse" for member in members):
            raise ValueError(f"SparseAdam trains only embeddings with sparse: true; {advice.format('sparse')}")
        if isinstance(optimizer, LBFGS):
            search, rate = optimizer.defaults["line_search_fn"], optimizer.defaults["lr"]
            if search != "strong_wolfe" and (search is not None or rate >= 1):
                raise ValueError(
                    f"LBFGS with whole steps diverges on batches, got line_search_fn {search} and lr {rate}; "
                    "write line_search_fn: strong_wolfe, or an lr below 1"
                )
            for member in members:  # LBFGS views each of them as one row
                member.data = member.data.contiguous()
        return optimizer


def build_optimizer(
    factory: OptimizerCallable, module: nn.Module, decay_norm_and_bias: bool = False, layer_decay: float = 1.0
) -> Optimizer:
    """Build an optimizer over a module's trainable parameters (see `Parameters`), fused where `prefer_fused` can."""
    parameters = Parameters(module, decay_norm_and_bias, layer_decay)
    optimizer = parameters.build(factory, parameters)
    prefer_fused(optimizer, {key for key, kind in parameters.kinds.items() if kind == "sparse"})
    return optimizer


def _learning_rate_scales(net: nn.Module, decay: float) -> dict[int, float]:
    """Return the factor on the learning rate of each parameter of a network, by the parameter's id."""
    from trainworks.runtime.blocks import layers  # few runs need it

    found = [layer for layer, _ in layers(net) if next(layer.parameters(), None) is not None]
    scales = dict.fromkeys(map(id, net.parameters()), decay ** (len(found) - 1))  # class tokens and the like too
    for depth, layer in reversed(list(enumerate(found))):  # a shared parameter has the factor of its first layer
        scales |= dict.fromkeys(map(id, layer.parameters()), decay ** (len(found) - 1 - depth))
    return scales


def current_rate(trainer: Any) -> Any:
    """Return the learning rate of the first parameter group as it is now; None if there is none."""
    optimizers = getattr(trainer, "optimizers", ())
    rate = optimizers[0].param_groups[0].get("lr") if optimizers and optimizers[0].param_groups else None
    return rate.clone() if isinstance(rate, Tensor) else rate  # which a scheduler changes in place


def switch_weights(optimizers: list[Optimizer], mode: str) -> None:
    """Switch optimizers that have a `train` and an `eval`, as those of the package schedulefree, to one of them."""
    for optimizer in optimizers:
        for part in getattr(optimizer, "optimizers", [optimizer]):
            getattr(part, mode, lambda: None)()
