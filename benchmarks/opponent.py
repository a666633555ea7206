"""The popular Hydra template's way, written from its description: python -m benchmarks.opponent [--root DIR].

It trains 784-64-128-64-10 with batch norm on Fashion-MNIST (without DIR, on made-up images of that shape): per-sample
ToTensor and Normalize, training and test set joined and divided at random, metric objects called and logged in every
step, a rich bar (Lightning's tqdm bar, if rich is not installed), TensorBoard, the best and the last checkpoint.
"""

import argparse
import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, random_split
from torchmetrics import MaxMetric, MeanMetric
from torchmetrics.classification import MulticlassAccuracy
from torchvision import datasets, transforms

from benchmarks.clock import MadeUpFashionMNIST

BAR = "rich" if importlib.util.find_spec("rich") else "tqdm"


class StyleModule(LightningModule):
    """A module in that template's style: a metric object for everything, called and logged in every step.

    Args:
        net: The network.
        optimizer: Made over its parameters.
    """

    def __init__(self, net: nn.Module, optimizer: Any) -> None:
        super().__init__()
        self.net, self.optimizer, self.criterion = net, optimizer, nn.CrossEntropyLoss()
        self.train_acc, self.val_acc = MulticlassAccuracy(10, average="micro"), MulticlassAccuracy(10, average="micro")
        self.train_loss, self.val_loss, self.val_acc_best = MeanMetric(), MeanMetric(), MaxMetric()

    def step(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss, classes and targets."""
        inputs, targets = batch
        logits = self.net(inputs)
        return self.criterion(logits, targets), torch.argmax(logits, dim=1), targets

    def on_train_start(self) -> None:
        """Forget the sanity check."""
        for metric in (self.val_loss, self.val_acc, self.val_acc_best):
            metric.reset()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Train on one batch."""
        loss, predictions, targets = self.step(batch)
        self.train_loss(loss)
        self.train_acc(predictions, targets)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/acc", self.train_acc, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Validate on one batch."""
        loss, predictions, targets = self.step(batch)
        self.val_loss(loss)
        self.val_acc(predictions, targets)
        self.log("val/loss", self.val_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("val/acc", self.val_acc, on_step=False, on_epoch=True, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        """Keep the best accuracy."""
        self.val_acc_best(self.val_acc.compute())
        self.log("val/acc_best", self.val_acc_best.compute(), sync_dist=True, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Build the optimizer."""
        return self.optimizer(self.parameters())


def style_fit(
    module: LightningModule, train: Iterable[Any], val: Iterable[Any], epochs: int, *clocks: Callback
) -> None:
    """Train in that template's way."""
    with tempfile.TemporaryDirectory() as folder:
        bar = RichProgressBar() if BAR == "rich" else TQDMProgressBar()
        best = ModelCheckpoint(f"{folder}/checkpoints", monitor="val/acc", mode="max", save_last=True)
        trainer = Trainer(
            accelerator="cpu", max_epochs=epochs, default_root_dir=folder, callbacks=[*clocks, bar, best],
            logger=TensorBoardLogger(folder),
        )  # fmt: skip
        trainer.fit(module, train, val)


def style_epochs(root: str | None, epochs: int, scale: float, *clocks: Callback) -> None:
    """Train that template's example."""
    usual = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    extra: dict[str, Any] = {} if root else {"scale": scale}
    kind = datasets.FashionMNIST if root else MadeUpFashionMNIST
    whole: Any = ConcatDataset([kind(root or "", train=train, transform=usual, **extra) for train in (True, False)])
    parts = random_split(whole, [55 / 70, 5 / 70, 10 / 70], torch.Generator().manual_seed(42))
    loaders = [DataLoader(part, 128, shuffle=place == 0) for place, part in enumerate(parts[:2])]
    layers: list[nn.Module] = [nn.Flatten()]
    for width, next_width in ((784, 64), (64, 128), (128, 64)):
        layers += [nn.Linear(width, next_width), nn.BatchNorm1d(next_width), nn.ReLU()]
    module = StyleModule(nn.Sequential(*layers, nn.Linear(64, 10)), lambda p: torch.optim.Adam(p, lr=1e-3))
    style_fit(module, *loaders, epochs, *clocks)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    quiet()
    style_epochs(options.root, options.epochs, options.scale)


def quiet() -> None:
    """Leave out Lightning's remarks and warnings."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


if __name__ == "__main__":
    main()
