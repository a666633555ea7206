"""CIFAR-10 to 94 %: python -m benchmarks.gpu_cifar [--root DIR] [--repetitions N].

configs/cifar10_fast.yaml by the command line, against the recipe that it follows (airbench94, arXiv:2404.00498),
rebuilt here as a script of PyTorch alone that keeps all images on the device in half precision. The seconds are those
of the training and of one evaluation at its end, after a run of each way that does not count.
DIR holds CIFAR-10 as torchvision keeps it, or images of 32x32 as train/<class>/ and test/<class>/; without it images
are made up. Without a GPU nothing is measured; `--device cpu --num_images 64 --batch_size 16 --epochs 1` tries the
program itself.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.datasets import CIFAR10, ImageFolder

from benchmarks.gpu import has_device
from benchmarks.ours import ROOT, item, train_here, write_config
from benchmarks.pairs import measure, record, record_ratio

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
WIDTHS, MOMENTUM, DECAY, SMOOTHING = (64, 256, 256), 0.85, 0.0153, 0.2


class Pictures(torch.utils.data.Dataset[Any]):
    """Images of 32x32, as torchvision's CIFAR10 holds them.

    Args:
        root: See above; "" for images that are made up.
        train: Whether they are for training.
        num_images: How many, at most.
    """

    def __init__(self, root: str, train: bool, num_images: int = 50_000) -> None:
        folder = Path(root, "train" if train else "test")
        if not root:
            draw = np.random.default_rng(int(train))
            self.data = draw.integers(0, 256, (num_images, 32, 32, 3), dtype=np.uint8)
            self.targets = draw.integers(0, 10, num_images).tolist()
        elif folder.is_dir():
            files = ImageFolder(folder)
            self.data, self.targets = np.stack([np.asarray(image) for image, _ in files]), files.targets
        else:
            known = CIFAR10(root, train)
            self.data, self.targets = known.data, known.targets
        self.data, self.targets = self.data[:num_images], self.targets[:num_images]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.data[index], self.targets[index]


class Norm(nn.BatchNorm2d):
    """Batch norm without a scale, in single precision."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-12, momentum=0.4)
        self.weight.requires_grad = False


def convolution(channels: int, width: int) -> nn.Conv2d:
    """Return a convolution that begins as the identity."""
    layer = nn.Conv2d(channels, width, 3, padding="same", bias=False)
    nn.init.dirac_(layer.weight.data[:channels])
    return layer


def network(device: torch.device, dtype: torch.dtype) -> nn.Sequential:
    """Return the network; its first layer is whitened by `whiten`."""
    layers: list[nn.Module] = [nn.Conv2d(3, 24, 2), nn.GELU()]
    channels = 24
    for width in WIDTHS:
        layers += [convolution(channels, width), nn.MaxPool2d(2), Norm(width), nn.GELU()]
        layers += [convolution(width, width), Norm(width), nn.GELU()]
        channels = width
    net = nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), nn.Linear(channels, 10, bias=False))
    net = net.to(device, dtype, memory_format=torch.channels_last)
    for layer in net.modules():
        if isinstance(layer, Norm):
            layer.float()
    return net


def whiten(layer: nn.Conv2d, images: Tensor) -> None:
    """Let the first layer decorrelate patches of 2x2."""
    patches = functional.unfold(images.float(), 2).transpose(0, 1).flatten(1)
    values, vectors = torch.linalg.eigh(patches @ patches.T / patches.shape[1])
    filters = (vectors / (values + 5e-4).sqrt()).T.reshape(12, 3, 2, 2)
    layer.weight.data.copy_(torch.cat([filters, -filters]))
    nn.init.zeros_(layer.bias)
    layer.weight.requires_grad = False


def windows(padded: Tensor, pad: int) -> Tensor:
    """Cut a window out of each padded image, at a place of its own."""
    size = padded.shape[-1] - 2 * pad
    places = torch.randint(0, 2 * pad + 1, (2, len(padded)), device=padded.device)
    images = torch.empty_like(padded[..., :size, :size])
    for top in range(2 * pad + 1):
        for left in range(2 * pad + 1):
            chosen = (places[0] == top) & (places[1] == left)
            images[chosen] = padded[chosen, :, top : top + size, left : left + size]
    return images


def resident(pictures: Pictures, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return normalised images and their classes, on the device."""
    images = torch.as_tensor(pictures.data, device=device).permute(0, 3, 1, 2).to(dtype) / 255
    mean, std = (torch.tensor(values, device=device, dtype=dtype).view(3, 1, 1) for values in (MEAN, STD))
    images = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
    return images, torch.tensor(pictures.targets, device=device)


def recipe(options: argparse.Namespace, device: torch.device) -> tuple[float, float]:
    """Train and evaluate by the recipe; return the seconds and the accuracy."""
    dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
    torch.backends.cudnn.benchmark = True
    pictures = (Pictures(options.root, training, options.num_images) for training in (True, False))
    (images, labels), test = (resident(part, device, dtype) for part in pictures)
    begin = time.perf_counter()
    net = network(device, dtype)
    whiten(net[0], images[:5000])
    train(net, images, labels, options.batch_size, options.epochs or 9.9)
    accuracy = evaluate(net, *test)
    return time.perf_counter() - begin, accuracy


def optimizer_of(net: nn.Sequential, batch: int) -> torch.optim.SGD:
    """Return the optimizer: of the summed loss, with a rate of their own for the norms' biases."""
    scale = 1024 * (1 + 1 / (1 - MOMENTUM))
    rate, decay = 11.5 / scale, DECAY * batch / scale
    biases = [layer.bias for layer in net.modules() if isinstance(layer, Norm)]
    others = [p for p in net.parameters() if p.requires_grad and not any(p is bias for bias in biases)]
    groups = [(biases, 64 * rate), (others, rate)]
    described = [{"params": members, "lr": lr, "weight_decay": decay / lr} for members, lr in groups]
    return torch.optim.SGD(described, momentum=MOMENTUM, nesterov=True)


def train(net: nn.Sequential, images: Tensor, labels: Tensor, batch: int, epochs: float) -> None:
    """Train, with Lookahead (arXiv:1907.08610) from the fourth epoch on."""
    per_epoch = len(images) // batch
    num_steps = math.ceil(per_epoch * epochs)
    peak = int(0.23 * num_steps)

    def height(step: int) -> float:
        if step < peak:
            return 0.2 + 0.8 * step / peak
        return 1 - 0.93 * (step - peak) / max(num_steps - peak, 1)

    optimizer = optimizer_of(net, batch)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, height)
    device = images.device
    flipped = torch.where(torch.rand(len(images), 1, 1, 1, device=device) < 0.5, images.flip(-1), images)
    padded = functional.pad(flipped, (2, 2, 2, 2), "reflect")
    slow: list[Tensor] = []
    step = 0
    for epoch in range(math.ceil(epochs)):
        net[0].bias.requires_grad = epoch < 3
        net.train()
        moved = windows(padded, 2)
        moved = moved.flip(-1) if epoch % 2 else moved
        order = torch.randperm(len(images), device=device)[: per_epoch * batch].view(-1, batch)
        for chosen in order[: num_steps - step]:
            logits = net(moved[chosen]) / 9
            loss = functional.cross_entropy(logits, labels[chosen], label_smoothing=SMOOTHING, reduction="sum")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            step += 1
            if epoch >= 3 and step % 5 == 0:
                slow = look_ahead(net, slow, 1 - 0.95**5 * (step / num_steps) ** 3)
        if slow:
            look_ahead(net, slow, 0.0)


def look_ahead(net: nn.Sequential, slow: list[Tensor], share: float) -> list[Tensor]:
    """Move slow weights, at first the net's, by a share towards the net's, and these to them; return the slow ones."""
    state = [value for value in net.state_dict().values() if value.is_floating_point()]
    slow = slow or [value.clone() for value in state]
    for old, new in zip(slow, state, strict=True):
        new.copy_(old.lerp_(new, share))
    return slow


def evaluate(net: nn.Sequential, images: Tensor, labels: Tensor) -> float:
    """Return the accuracy, of six views of each image."""
    net.eval()
    right = 0
    with torch.no_grad():
        for part, wanted in zip(images.split(2000), labels.split(2000), strict=True):
            wide = functional.pad(part, (1, 1, 1, 1), "reflect")
            views = [part, part, wide[..., :32, :32], wide[..., 2:, 2:]]  # the image counts as much as both others
            right += int((sum(net(v) + net(v.flip(-1)) for v in views).argmax(1) == wanted).sum())
    return right / len(images)


def ours(options: argparse.Namespace, device: torch.device) -> tuple[float, float]:
    """Train and test by configs/cifar10_fast.yaml; return the seconds and the accuracy."""
    pictures = "benchmarks.gpu_cifar.Pictures"
    names = {"train_dataset": True, "test_dataset": False}
    parts = {name: item(pictures, train=train, num_images=options.num_images) for name, train in names.items()}
    trainer: dict[str, Any] = {"accelerator": "gpu" if device.type == "cuda" else "cpu", "devices": 1}
    if options.epochs:
        trainer["max_epochs"] = math.ceil(options.epochs)
    data = {"init_args": {"root": options.root, "batch_size": options.batch_size, **parts}}
    rate = 1.5 * options.batch_size / 1024
    changed = {"optimizer": {"init_args": {"lr": rate}}, "scheduler": {"init_args": {"max_lr": rate}}}
    with tempfile.TemporaryDirectory() as folder:
        stamps = Path(folder, "stamps.json")
        trainer["callbacks"] = [item("benchmarks.clock.StageClock", path=str(stamps))]
        path = write_config(folder, {"trainer": trainer, "data": data, "model": {"init_args": changed}})
        seed = str(time.time_ns() % 10**6)
        train_here("--config", str(ROOT / "configs/cifar10_fast.yaml"), "--config", path, "--seed_everything", seed)
        times = json.loads(stamps.read_text(encoding="utf-8"))
        (record_file,) = Path(folder).rglob("run.json")
        metrics = json.loads(record_file.read_text(encoding="utf-8"))["metrics"]
    return times["tested"] - times["training begins"], metrics["test/accuracy"]


def main(words: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--root", default="")
    parser.add_argument("--num_images", type=int, default=50_000)
    parser.add_argument("--batch_size", type=int, default=1024)
    parser.add_argument("--epochs", type=float, default=0, help="of both; left out, each has its own")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args(words)
    device = torch.device(options.device)
    if not has_device(device):
        return
    reached: dict[str, list[float]] = {"recipe": [], "ours": []}

    def timed(name: str, way: Callable[..., tuple[float, float]]) -> Callable[[], float]:
        def run() -> float:
            taken, accuracy = way(options, device)
            reached[name].append(accuracy)
            return taken

        return run

    taken = measure(options.repetitions, {"recipe": timed("recipe", recipe), "ours": timed("ours", ours)})
    for name, values in reached.items():
        record(f"CIFAR-10, {name}: seconds", "", taken[name], "s")
        mean = statistics.mean(values[1:])
        goal = "at least 0.94 (mean)" if name == "ours" else ""
        record(f"CIFAR-10, {name}: test accuracy", goal, values[1:], "", f"mean {mean:.4f}")
    record_ratio("CIFAR-10, ours over the recipe", "at most 1.5", taken, "ours", "recipe")


if __name__ == "__main__":
    main()
