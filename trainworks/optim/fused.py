import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

FUSABLE = (Adam, AdamW)  # SGD's kernel fails where a weight gets its first gradient later than others
DEFAULTS = {"fused": None, "foreach": None, "capturable": False, "differentiable": False}


def prefer_fused(optimizer: Optimizer, sparse: set[int]) -> None:
    """Switch an optimizer to its fused kernel, in place, where it has one and the user chose no other.

    On a CPU its step is 3 to 7 times as fast as torch's default; see docs/speed.md. The optimizer has not made a step
    yet; `sparse` are the ids of parameters whose gradients are.
    """
    for part in getattr(optimizer, "optimizers", [optimizer]):
        for group in part.param_groups:
            chosen = any(group.get(name, default) != default for name, default in DEFAULTS.items())
            if type(part) in FUSABLE and not chosen and all(_can_fuse(p, sparse) for p in group["params"]):
                group["fused"] = True  # set in the constructor, it would take unscaling from the trainer
        # Lightning clips no gradients for an optimizer that unscales them itself, and callbacks would see scaled ones
        part._step_supports_amp_scaling = False
    optimizer.register_load_state_dict_post_hook(_match_layouts)


def _can_fuse(parameter: nn.Parameter, sparse: set[int]) -> bool:
    """Whether the kernels take a parameter; they take no subclass, such as DTensor, and no gaps in memory."""
    if type(parameter) is not nn.Parameter or not parameter.is_floating_point() or id(parameter) in sparse:
        return False
    channels_last = parameter.ndim == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    return parameter.device.type in ("cpu", "cuda") and (channels_last or parameter.is_contiguous())


def _match_layouts(optimizer: Optimizer) -> None:
    """Give a loaded state the memory format of its parameters, which the CPU's kernels assume without a check."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter).copy_(value)
