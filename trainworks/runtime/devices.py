"""The device of a training, and the precision that it computes with."""

import warnings

import torch
from lightning.pytorch import Trainer

from trainworks.runtime.launch import is_main_process


def device_name(trainer: Trainer) -> str:
    """Return the kind of device that a trainer uses, such as cpu or the name of a GPU."""
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def settle_precision(trainer: Trainer, asked: str | int | None, tf32: bool) -> None:
    """Allow TF32 or not, and print advice where the device has no such precision; `asked` is trainer.precision."""
    device = trainer.strategy.root_device
    allow_tf32(device.type, tf32)
    if not is_main_process():
        return
    if asked == "16-mixed" and trainer.precision == "bf16-mixed":
        print("a CPU has no 16-mixed: bf16-mixed is used, which needs no scaled loss")
    if "bf16" in trainer.precision and not has_bf16(device):
        print(f"this {device.type} has no bfloat16 of its own: trainer.precision 32 is likely to be faster")


def has_bf16(device: torch.device) -> bool:
    """Whether a device has bfloat16 in hardware: GPUs since Ampere, CPUs with AVX512_BF16; true if it is not known."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(capabilities.get("avx512_bf16")) or not capabilities.get("avx2")  # without AVX2 it is not known


def allow_tf32(device_type: str, allowed: bool) -> None:
    """Let float32 matrix products and convolutions of a CUDA device use TF32, or not; other devices stay as they are.

    TF32 keeps the range of float32 and 10 bits of its precision (GPUs since Ampere). PyTorch itself allows it for
    convolutions only.
    """
    if device_type == "cuda":
        with warnings.catch_warnings(action="ignore"):  # torch recommends fp32_precision, which Lightning cannot read
            torch.backends.cuda.matmul.allow_tf32 = allowed
            torch.backends.cudnn.allow_tf32 = allowed
