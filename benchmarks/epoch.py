"""An epoch of a small network on Fashion-MNIST: python -m benchmarks.epoch [--root DIR] [--repetitions N].

784-64-128-64-10 with batch norm, 55,000 images to train and 5,000 to validate, batches of 128, accuracy of both, a
checkpoint an epoch. This project through its command line; the popular Hydra template's way, see
benchmarks/opponent.py; and a loop written by hand over tensors that were normalised once. The second of three epochs is
timed, from its start to that of the next. Without DIR the images are made up. Threads are each one's own choice: ours
takes one for such a network, the others as many as torch has.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import datasets

from benchmarks.clock import EPOCHS, EpochClock, MadeUpFashionMNIST
from benchmarks.opponent import BAR, quiet, style_epochs
from benchmarks.ours import ACCURACY, classifier, hidden, item, train_here, write_config
from benchmarks.pairs import arguments, measure, record_ratio
from src.models.networks.mlp import MLP

MEAN, STD = 0.286, 0.353


def ours(root: str | None, scale: float) -> None:
    """Train by this project's command line, with its defaults."""
    dataset = item("torchvision.datasets.FashionMNIST") if root else item("benchmarks.clock.MadeUpFashionMNIST")
    if not root:
        dataset["init_args"]["scale"] = scale
    transform = [
        item("torchvision.transforms.v2.ToDtype", dtype="torch.float32", scale=True),
        item("torchvision.transforms.v2.Normalize", mean=[MEAN], std=[STD], inplace=True),
    ]
    data = item(
        "trainworks.datamodules.VisionDataModule", root=root or "none", num_classes=10, train_dataset=dataset,
        batch_size=128, val_fraction=5 / 60, train_transform=transform, eval_transform=transform,
    )  # fmt: skip
    net = item("src.models.networks.mlp.MLP", in_features=784, num_classes=10, hidden=[64, 128, 64])
    content = {"model": classifier(net, item("torch.optim.Adam", lr=1e-3), ACCURACY), "data": data}
    content |= {"trainer": {"max_epochs": 3}, "callbacks": {"clock": item("benchmarks.clock.EpochClock")}}
    with tempfile.TemporaryDirectory() as folder:
        train_here("fit", "--config", write_config(folder, content))


def by_hand(root: str | None, scale: float) -> None:
    """Train with PyTorch alone, as somebody would who cares for speed."""
    whole = datasets.FashionMNIST(root) if root else MadeUpFashionMNIST("", scale=scale)
    images, targets = ((whole.data / 255 - MEAN) / STD).unsqueeze(1), whole.targets
    num_train = len(images) * 55 // 60
    net, loss_function = MLP(784, 10, [64, 128, 64]), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def run(places: Tensor, training: bool) -> tuple[float, float]:
        """Return mean loss and accuracy."""
        losses, correct = torch.tensor(0.0), torch.tensor(0)
        net.train(training)
        with torch.set_grad_enabled(training):
            for chosen in places.split(128):
                logits, classes = net(images[chosen]), targets[chosen]
                loss = loss_function(logits, classes)
                if training:
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                losses += loss.detach() * len(chosen)
                correct += (logits.argmax(dim=1) == classes).sum()
        return float(losses) / len(places), float(correct) / len(places)

    with tempfile.TemporaryDirectory() as folder:
        for _ in range(3):
            EPOCHS.append(time.perf_counter())
            print(run(torch.randperm(num_train), True), run(torch.arange(num_train, len(images)), False))
            torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, Path(folder, "last.pt"))


def second_epoch(work: Callable[[], Any]) -> float:
    """Return the seconds of the second epoch."""
    EPOCHS.clear()
    with hidden():
        work()
    return EPOCHS[2] - EPOCHS[1]


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, [], 5)
    scale = 0.02 if options.quick else 1.0
    quiet()
    ways = {
        "by hand": lambda: second_epoch(lambda: by_hand(options.root, scale)),
        "ours": lambda: second_epoch(lambda: ours(options.root, scale)),
        "style": lambda: second_epoch(lambda: style_epochs(options.root, 3, scale, EpochClock())),
    }
    epochs = measure(options.repetitions, ways)
    record_ratio(f"epoch, Hydra template's style over ours (bar: {BAR})", "at least 6", epochs, "style", "ours")
    record_ratio("epoch, ours over a loop by hand", "at most 2", epochs, "ours", "by hand")


if __name__ == "__main__":
    main()
