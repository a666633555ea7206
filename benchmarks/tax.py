"""What a step costs beside the network: python -m benchmarks.tax [mlp|resnet ...] [--repetitions N].

The same loader with the same batches of floats in memory, the same network and optimizer in each of five loops: PyTorch
alone; Lightning's Trainer with nothing on; this project through its command line with everything on that is on by
default (progress bar, TensorBoard, checkpoints, monitors), without and with accuracy; and the style of the popular
Hydra template, see benchmarks/opponent.py. Bars are drawn as on a terminal. The time is that between two batches being
asked for, so building, the first steps and validation are left out; what happens between two epochs is shown by itself.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torchvision
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from benchmarks.clock import TICKS, MemoryDataModule, boundary_seconds, step_seconds
from benchmarks.opponent import BAR, StyleModule, quiet, style_fit
from benchmarks.ours import ACCURACY, classifier, hidden, item, train_here, write_config
from benchmarks.pairs import measure, record, record_ratio, run_sections
from src.models.networks.mlp import MLP

SGD = partial(torch.optim.SGD, lr=0.01)


class BareModule(LightningModule):
    """The least that Lightning's Trainer needs."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss."""
        loss: Tensor = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        return loss

    def configure_optimizers(self) -> Any:
        """Build the optimizer."""
        return SGD(self.parameters())


@dataclass
class Problem:
    """What is trained, in each of the loops.

    Args:
        net: Makes the network.
        named: The same network as a configuration names it.
        data: Number and shape of the samples, as arguments of MemoryDataModule.
        warm_up: Steps at the start of each epoch that are not timed.
        num_epochs: Epochs in one run.
    """

    net: Callable[[], nn.Module]
    named: dict[str, Any]
    data: dict[str, Any]
    warm_up: int
    num_epochs: int = 2

    def loaders(self) -> list[Any]:
        """Return the loaders of training and validation that every loop uses."""
        data = MemoryDataModule(**self.data)
        data.load()
        return [data.train_dataloader(), data.val_dataloader()]

    def raw(self) -> None:
        """Train with PyTorch alone."""
        (loader, _), net, loss_function = self.loaders(), self.net(), nn.CrossEntropyLoss()
        optimizer = SGD(net.parameters())
        for epoch in range(self.num_epochs):
            loader.batch_sampler.sampler.set_epoch(epoch)
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss_function(net(inputs), targets).backward()
                optimizer.step()

    def bare(self) -> None:
        """Train with Lightning's Trainer, nothing logged, watched or saved."""
        trainer = Trainer(
            accelerator="cpu", max_epochs=self.num_epochs, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(BareModule(self.net()), self.loaders()[0])

    def ours(self, metrics: dict[str, Any]) -> None:
        """Train by this project's command line, with its defaults."""
        model = classifier(self.named, item("torch.optim.SGD", lr=0.01), metrics)
        data = item("benchmarks.clock.MemoryDataModule", **self.data)
        with tempfile.TemporaryDirectory() as folder:
            content = {"model": model, "data": data, "trainer": {"max_epochs": self.num_epochs}}
            train_here("fit", "--config", write_config(folder, content))

    def style(self) -> None:
        """Train in the style of the Hydra template."""
        style_fit(StyleModule(self.net(), SGD), *self.loaders(), self.num_epochs)

    def timed(self, work: Callable[[], None]) -> tuple[float, float]:
        """Return the seconds of a step, and of what lies between two epochs."""
        TICKS.clear()
        with hidden():
            work()
        between = boundary_seconds(self.num_epochs) if self.num_epochs > 1 else 0.0
        return step_seconds(self.num_epochs, self.warm_up), between


def mlp(options: argparse.Namespace) -> None:
    """A network so small that all the rest shows."""
    num_samples = 6_400 if options.quick else 60_000
    named = item("src.models.networks.mlp.MLP", in_features=784, num_classes=10, hidden=[256], batch_norm=False)
    data = {"num_samples": num_samples, "shape": [784], "num_classes": 10}
    problem = Problem(lambda: MLP(784, 10, [256], batch_norm=False), named, data, warm_up=50)
    ways: dict[str, Callable[[], None]] = {
        "raw": problem.raw, "bare": problem.bare, "ours": lambda: problem.ours({}),
        "ours, accuracy": lambda: problem.ours(ACCURACY), "style": problem.style,
    }  # fmt: skip
    between: dict[str, list[float]] = {name: [] for name in ways}

    def step(name: str) -> float:
        seconds, gap = problem.timed(ways[name])
        between[name].append(gap)
        return seconds

    steps = measure(options.repetitions, {name: partial(step, name) for name in ways})
    for name, values in steps.items():
        record(f"step of 784-256-10, {name}", "", [value * 1e3 for value in values], "ms")
    record_ratio("step of 784-256-10, ours over bare Trainer", "at most 1.10", steps, "ours", "bare")
    record_ratio("step of 784-256-10, ours with accuracy over bare", "at most 1.08", steps, "ours, accuracy", "bare")
    rounds = zip(steps["ours, accuracy"], steps["raw"], steps["style"], strict=True)
    shares = [(ours - raw) / (style - raw) for ours, raw, style in rounds]
    what = "step of 784-256-10, (ours with accuracy - raw) / (style - raw)"
    record(what, "at most 0.333", shares, "x", f"bar of the style: {BAR}")
    for name in ("bare", "ours, accuracy", "style"):
        goal = "at most 10" if name.startswith("ours") else ""
        record(f"between two epochs, {name}", goal, [value * 1e3 for value in between[name][1:]], "ms")


def resnet(options: argparse.Namespace) -> None:
    """A ResNet-18 on images of 32x32, one epoch a run."""
    named = item("torchvision.models.resnet18", num_classes=10)
    data = {"num_samples": 256 if options.quick else 3_840, "shape": [3, 32, 32], "num_classes": 10}
    problem = Problem(lambda: torchvision.models.resnet18(num_classes=10), named, data, warm_up=2, num_epochs=1)
    ways = {
        "bare": lambda: problem.timed(problem.bare)[0],
        "ours": lambda: problem.timed(lambda: problem.ours(ACCURACY))[0],
    }
    steps = measure(options.repetitions, ways)
    record_ratio("step of ResNet-18, ours with accuracy over bare", "at most 1.02 (noise)", steps, "ours", "bare")


SECTIONS = {"mlp": mlp, "resnet": resnet}


def main() -> None:
    """Run the sections that were named, or all."""
    torch.set_num_threads(1)
    quiet()
    run_sections(__doc__, SECTIONS, 15)


if __name__ == "__main__":
    main()
