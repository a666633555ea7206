"""What each switch gains: python -m benchmarks.switches [--repetitions N] [--net NAME ...].

Training steps of the example networks, plain against the same with one switch: bf16, compile, channels_last, fused
(against torch's default), and all together. On the GPU if there is one, else on the CPU with one thread. The batch is
on the device already: these are the network's and the optimizer's steps alone. Compiling happens before the clock runs.
"""

import argparse
import contextlib
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from benchmarks.pairs import compare
from src.models.networks.gpt import GPT
from src.models.networks.small_cnn import SmallCNN
from trainworks.runtime.devices import allow_tf32

SWITCHES = ("bf16", "compile", "channels_last", "fused")
COMBINED = (("bf16", "channels_last"), ("bf16", "compile", "fused"))
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def images(batch_size: int, channels: int, size: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return a batch of images (B, C, H, W) and labels (B,)."""
    return torch.randn(batch_size, channels, size, size), torch.randint(num_classes, (batch_size,))


def text(batch_size: int, length: int) -> tuple[Tensor, Tensor]:
    """Return bytes and those that follow them, each (B, T)."""
    tokens = torch.randint(256, (batch_size, length + 1))
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, Tensor]], int]] = {  # with steps to time
    "digits": (
        lambda: SmallCNN(in_channels=1, num_classes=10, layers=[16, 16, "M", 32, "M", 64]),
        lambda: images(64, 1, 8, 10),
        50,
    ),
    "fashion_mnist": (
        lambda: SmallCNN(in_channels=1, num_classes=10, layers=[16, "M", 32, "M", 128, "M"], pool_size=3),
        lambda: images(128, 1, 28, 10),
        10,
    ),
    "image_folder": (
        lambda: SmallCNN(in_channels=3, num_classes=10, layers=[32, "M", 64, "M", 128, "M", 256], pool_size=2),
        lambda: images(64, 3, 64, 10),
        4,
    ),
    "resnet18_64": (lambda: torchvision.models.resnet18(num_classes=100), lambda: images(32, 3, 64, 100), 3),
    "resnet18_224": (lambda: torchvision.models.resnet18(num_classes=100), lambda: images(8, 3, 224, 100), 2),
    "gpt": (
        lambda: GPT(vocab_size=256, max_length=128, width=128, num_layers=4, num_heads=4),
        lambda: text(16, 128),
        4,
    ),
}


def steps(name: str, switches: tuple[str, ...]) -> Callable[[], None]:
    """Return training steps of a network, with these switches on."""
    make, make_batch, num_steps = NETS[name]
    torch.manual_seed(0)
    net, batch = make().to(DEVICE), [part.to(DEVICE) for part in make_batch()]
    if "channels_last" in switches:
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if "compile" in switches:
        torch.compiler.reset()  # what was compiled for other networks would count against the limit
        net.compile(dynamic=False)
    options: dict[str, Any] = {"fused": True} if "fused" in switches else {}
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, **options)
    on = "bf16" in switches
    precision = torch.autocast(DEVICE.type, torch.bfloat16, cache_enabled=False) if on else contextlib.nullcontext()

    def run() -> None:
        for _ in range(num_steps):
            with precision:
                outputs = net(batch[0])
                loss = nn.functional.cross_entropy(outputs.flatten(0, -2), batch[1].flatten())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    return run


def updates(name: str, fused: bool | None) -> Callable[[], None]:
    """Return the optimizer's part of ten training steps of a network."""
    net = NETS[name][0]().to(DEVICE)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    stepping = torch.optim.AdamW(net.parameters(), lr=1e-6, fused=fused)

    def run() -> None:
        for _ in range(10):
            stepping.step()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--net", nargs="+", choices=NETS, default=list(NETS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    allow_tf32(DEVICE.type, True)
    for name in options.net:
        ways = {"switched": updates(name, True), "plain": updates(name, None)}
        compare(f"{name}, {DEVICE.type}: step of AdamW alone, fused", "above 1", options.repetitions, **ways)
        plain = steps(name, ())
        for switches in (*[(switch,) for switch in SWITCHES], *COMBINED, SWITCHES):
            switched = steps(name, switches)
            label = f"{name}, {DEVICE.type}: {', '.join(switches)}"
            compare(label, "above 1", options.repetitions, switched=switched, plain=plain)


if __name__ == "__main__":
    main()
