"""ResNet-50 on one GPU: our way against a hand-written loop and against Lightning's defaults.

python -m benchmarks.gpu [--repetitions N] [--no-compile] [--no-ladder]

Random images lie on the device as uint8; in every way a step draws a batch and normalises it there. "ours" is a
ClassifierModule with an accuracy, the default callbacks and TensorBoard. "plain Lightning" is a Trainer as
it comes: float32, eager, NCHW. The others are a bare loop with one more flag each time; the last has the flags of ours,
and is the only one of them with --no-ladder. No loop waits for the numbers that it normalises with.
Without a GPU nothing is measured. `--device cpu --net resnet18 --image_size 32 --steps 2` tries the program itself.
"""

import argparse
import contextlib
import io
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import instantiate_class
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchmetrics.classification import MulticlassAccuracy
from torchvision.models import get_model

from benchmarks.data import MEAN, STD, floats
from src.models.classifier import ClassifierModule
from trainworks.callbacks.speed_monitor import _measure_peak
from trainworks.cli.console import silence_noise
from trainworks.cli.defaults import defaults
from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.transforms.apply import normalize_on_device
from trainworks.runtime.devices import has_bf16
from trainworks.runtime.signals import STOP

NUM_CLASSES = 1000


@dataclass(frozen=True)
class Flags:
    """What makes a step fast.

    Args:
        tf32: Whether products of float32 may round their factors to 10 bits; None as torch has it, convolutions only.
        bf16: Whether the forward pass runs under autocast to bfloat16.
        channels_last: Whether images and weights have their channels innermost.
        fused: Whether the optimizer is one kernel.
        compiled: Whether the network is compiled, in place.
        cudnn_benchmark: Whether cuDNN tries out its kernels.
    """

    tf32: bool | None = None
    bf16: bool = False
    channels_last: bool = False
    fused: bool = False
    compiled: bool = False
    cudnn_benchmark: bool = True

    @property
    def memory_format(self) -> torch.memory_format:
        """How images and weights lie in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def set(self) -> None:
        """Set what is global."""
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = self.tf32 is not False
        torch.backends.cudnn.benchmark = self.cudnn_benchmark


def ladder(compiles: bool) -> dict[str, Flags]:
    """Return the flags of the loops, one more each time."""
    flags = {"loop in float32": Flags(tf32=False)}
    for name in ("tf32", "bf16", "channels_last", "fused", *(["compiled"] if compiles else [])):
        flags[f"+ {name}"] = replace(list(flags.values())[-1], **{name: True})
    return flags


@dataclass(kw_only=True, eq=False, repr=False)
class ResidentData(BaseDataModule):
    """Serves one epoch of random batches from images that lie on the device.

    Args:
        images: Shape (N, 3, H, W), uint8.
        num_steps: Batches in the epoch.
        memory_format: How the images of a batch lie in memory.
    """

    images: Tensor
    num_steps: int
    memory_format: torch.memory_format = torch.contiguous_format

    def setup(self, stage: str) -> None:
        """Nothing is loaded."""

    def train_dataloader(self) -> "ResidentData":  # type: ignore[override]
        """Lightning takes anything that can be walked over."""
        return self

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(self.num_steps):
            chosen = torch.randint(len(self.images), (self.batch_size,), device=self.images.device)
            yield self.images[chosen].contiguous(memory_format=self.memory_format), chosen % NUM_CLASSES


class Clock(Callback):
    """Takes the time of the last steps; the device is waited for twice, before and after them.

    Args:
        num_steps: Steps that are timed. Those before are for compiling, choosing kernels, and callbacks that act once.

    Attributes:
        seconds: Mean time of a step.
    """

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps
        self.begin = self.seconds = 0.0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Start or stop."""
        self.tick(int(trainer.num_training_batches) - args[-1] - 1, pl_module.device)

    def tick(self, num_left: int, device: torch.device) -> None:
        """Note that so many steps are left."""
        if num_left in (self.num_steps, 0):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            now = time.perf_counter()
            self.begin = now if num_left else self.begin
            self.seconds = (now - self.begin) / self.num_steps


class Plain(LightningModule):
    """What one writes first.

    Args:
        net: The network to train.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Train on one batch."""
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Never called, since there is nothing to validate with; without it Lightning warns."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the same optimizer as everywhere here."""
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


def default_callbacks(folder: str) -> list[Callback]:
    """Return the callbacks that every run has, writing into `folder`."""
    items = defaults()["callbacks"]
    items["best"]["init_args"]["monitor"] = "train/loss"  # there is no validation here
    for item in items.values():
        arguments = item.setdefault("init_args", {})
        arguments |= {key: f"{folder}/{arguments[key]}" for key in ("dirpath",) if key in arguments}
    return [instantiate_class((), item) for item in items.values()]


def fit(module: LightningModule, data: ResidentData, clock: Clock, folder: str, **options: Any) -> None:
    """Train for one epoch with Lightning."""
    trainer = Trainer(
        max_epochs=1, devices=1, accelerator="gpu" if data.images.is_cuda else "cpu", default_root_dir=folder,
        logger=TensorBoardLogger(folder, name="", version=""), callbacks=[*options.pop("callbacks", []), clock],
        **options,
    )  # fmt: skip
    with STOP.installed(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer.fit(module, data)


def ours(net: nn.Module, data: ResidentData, flags: Flags, clock: Clock, folder: str) -> None:
    """Train a ClassifierModule as the example configs set it up."""
    optimizer = partial(torch.optim.SGD, lr=0.01, momentum=0.9, fused=flags.fused)
    accuracy = MulticlassAccuracy(NUM_CLASSES, average="micro", validate_args=False)
    module = ClassifierModule(net, nn.CrossEntropyLoss(), optimizer, metrics={"accuracy": accuracy})
    fit(
        module, data, clock, folder, callbacks=default_callbacks(folder),
        precision="bf16-mixed" if flags.bf16 else "32-true", benchmark=flags.cudnn_benchmark,
        use_distributed_sampler=False, enable_model_summary=False,
    )  # fmt: skip


def plain(net: nn.Module, data: ResidentData, flags: Flags, clock: Clock, folder: str) -> None:
    """Train with Lightning as it comes."""
    fit(Plain(net), data, clock, folder)


def by_hand(net: nn.Module, data: ResidentData, flags: Flags, clock: Clock, folder: str) -> None:
    """Train in a bare loop."""
    device = data.images.device
    fused = flags.fused or None  # False would also switch off the usual way, foreach
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, fused=fused)
    transforms = normalize_on_device(data.train_transform, device)
    for number, (images, targets) in enumerate(data):
        for transform in transforms:
            images = transform(images)
        with torch.autocast(device.type, torch.bfloat16, enabled=flags.bf16):
            loss = nn.functional.cross_entropy(net(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        clock.tick(len(data) - number - 1, device)


def flops(name: str, image_size: int) -> int:
    """Return the floating-point operations of training on one image; nothing is computed for it."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        get_model(name, num_classes=NUM_CLASSES)(torch.zeros(2, 3, image_size, image_size)).sum().backward()
    return int(counter.get_total_flops()) // 2


def measure(options: argparse.Namespace, device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of a step by way, one for each repetition; the ways take turns."""
    shape = (options.num_images, 3, options.image_size, options.image_size)
    images = torch.randint(256, shape, dtype=torch.uint8, device=device)
    loops = ladder(options.compile)
    loops = loops if options.ladder else dict(list(loops.items())[-1:])
    ways: dict[str, tuple[Callable[..., None], Flags]] = {"ours": (ours, list(loops.values())[-1])}
    ways["plain Lightning"] = plain, Flags(cudnn_benchmark=False)
    ways |= {name: (by_hand, flags) for name, flags in loops.items()}
    nets: dict[str, nn.Module] = {}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repetitions):
        for name, (run, flags) in ways.items():
            flags.set()
            if name not in nets:  # kept, so that each is compiled once
                nets[name] = get_model(options.net, num_classes=NUM_CLASSES).to(memory_format=flags.memory_format)
                if flags.compiled:
                    nets[name].compile()
            data = ResidentData(
                images=images, num_steps=options.warmup + options.steps, memory_format=flags.memory_format,
                batch_size=options.batch_size, train_transform=floats(MEAN, STD),
            )  # fmt: skip
            clock = Clock(options.steps)
            with tempfile.TemporaryDirectory() as folder:
                run(nets[name].to(device), data, flags, clock, folder)
            times[name].append(clock.seconds)
    return times


def report(options: argparse.Namespace, times: dict[str, list[float]], peak: float) -> None:
    """Print a table, and how far the goals are met."""
    per_image = flops(options.net, options.image_size)
    print(f"peak of a large matrix product: {peak / 1e12:.3g} TFLOP/s; {per_image / 1e9:.3g} GFLOP an image\n")
    print("| Way | Images/s | Spread | Share of the peak |\n| --- | --- | --- | --- |")
    for name, seconds in times.items():
        speeds = sorted(options.batch_size / value for value in seconds)
        speed = statistics.median(speeds)
        print(f"| {name} | {speed:,.0f} | {speeds[0]:,.0f} to {speeds[-1]:,.0f} | {speed * per_image / peak:.1%} |")
    print()
    for other, goal in ((list(times)[-1], 0.97), ("plain Lightning", 4.0)):
        ratios = sorted(b / a for a, b in zip(times["ours"], times[other], strict=True))
        spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f}, {len(ratios)} pairs"
        print(f"ours over {other}: {statistics.median(ratios):.3f}x ({spread}); goal: at least {goal}")


def arguments(description: str | None, net: str, steps: int, repetitions: int) -> argparse.ArgumentParser:
    """Return a parser with what the benchmarks on a GPU share; all but the description are defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--net", default=net, help="a classification network of torchvision")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--warmup", type=int, default=10, help="steps before the clock starts")
    parser.add_argument("--steps", type=int, default=steps, help="steps that are timed")
    parser.add_argument("--repetitions", type=int, default=repetitions)
    return parser


def has_device(device: torch.device) -> bool:
    """Say so if a CUDA device is asked for and there is none; else silence what would stand between the results."""
    if device.type == "cuda" and not torch.cuda.is_available():
        print("skipped: there is no CUDA device")
        return False
    silence_noise()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return True


def main(words: list[str] | None = None) -> None:
    """Measure and print."""
    parser = arguments(__doc__, "resnet50", steps=40, repetitions=5)
    parser.add_argument("--num_images", type=int, default=2048)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--ladder", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args(words)
    device = torch.device(options.device)
    if not has_device(device):
        return
    # where bfloat16 is emulated, its products are far below what float32 reaches
    peak = _measure_peak(device, "bf16" if has_bf16(device) else "32-true")
    report(options, measure(options, device), peak)


if __name__ == "__main__":
    main()
