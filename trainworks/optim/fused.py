import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

FUSABLE = (Adam, AdamW)  # SGD's kernel fails where a weight gets its first gradient later than others
UNCHOSEN = {"fused": None, "foreach": None, "capturable": False, "differentiable": False}


def prefer_fused(optimizer: Optimizer, sparse: set[int]) -> None:
    """Let an optimizer update all weights in one kernel where it can and nobody chose otherwise, in place.

    On a CPU its step is 3 to 7 times as fast as torch's default; see docs/speed.md.

    Args:
        optimizer: Built, and not yet used. The parts of an OptimizerByName are seen to one by one.
        sparse: Ids of parameters whose gradients are sparse.
    """
    for part in getattr(optimizer, "optimizers", [optimizer]):
        for group in part.param_groups:
            chosen = any(group.get(choice, default) != default for choice, default in UNCHOSEN.items())
            if type(part) in FUSABLE and not chosen and all(_can_fuse(p, sparse) for p in group["params"]):
                group["fused"] = True  # set here and not in the constructor, it leaves unscaling to the trainer
        # Lightning clips no gradients for an optimizer that unscales them itself, and callbacks would see scaled ones
        part._step_supports_amp_scaling = False
    optimizer.register_load_state_dict_post_hook(_match_layouts)


def _can_fuse(parameter: nn.Parameter, sparse: set[int]) -> bool:
    """Whether the kernels take this parameter; DTensors, other subclasses and what has gaps in memory are left out."""
    if type(parameter) is not nn.Parameter or not parameter.is_floating_point() or id(parameter) in sparse:
        return False
    channels_last = parameter.ndim == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    return parameter.device.type in ("cpu", "cuda") and (channels_last or parameter.is_contiguous())


def _match_layouts(optimizer: Optimizer) -> None:
    """Lay out a loaded state as its parameters are: the CPU's kernels take it for granted and would mix values up."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter).copy_(value)
