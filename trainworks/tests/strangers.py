"""Modules and data that derive from nothing of this project, in the shapes in which people bring them."""

import json
from collections import deque
from collections.abc import Callable
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities.data import AttributeDict
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.callbacks import LambdaCallback, ModelCheckpoint
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MaxMetric
from torchmetrics.classification import MulticlassAccuracy

from trainworks.tests.examples.classifier import ClassifierModule


class Trained(LightningModule):
    """A training step that returns a mapping, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.layer(images.flatten(1))
        return outputs

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return {"loss": loss, "predictions": "as others call something else"}

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 0.01)


class Validated(Trained):
    """Lightning's names for metrics."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        outputs = self(batch[0])
        self.log("valid_loss", F.cross_entropy(outputs, batch[1]))
        self.log("valid_acc", (outputs.argmax(1) == batch[1]).float().mean())


class Tested(Validated):
    """A test with one number."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())


class HasThreshold(Tested):
    """A number of this name that is not the library's."""

    threshold = 0.5


class Worse(Trained):
    """Lightning's usual name for the loss of a validation, which rises."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", float(self.current_epoch))


class Silent(Trained):
    """A validation that logs nothing."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])


class Plateau(Validated):
    """A scheduler that watches the validation."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, threshold=10.0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "valid_loss"}}


class ByStage(Trained):
    """Names its metrics by the stage, which is another in the sanity validation, and says something."""

    def __init__(self, monitor: str = "val_loss") -> None:
        super().__init__()
        self.monitor = monitor

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        stage: Any = self.trainer.state.stage
        self.log(f"{stage.value}_loss".replace("validate", "val"), F.cross_entropy(self(batch[0]), batch[1]))

    def on_validation_start(self) -> None:
        self.print("a module speaks")

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": self.monitor}}


class KeepsItself(Validated):
    """Brings a checkpoint of its own, and another callback of a class that the library might use."""

    def __init__(self, monitor: str | None = "valid_acc") -> None:
        super().__init__()
        self.monitor = monitor

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log_dict(
            {"valid_loss": F.cross_entropy(self(batch[0]), batch[1]), "valid_acc": 1.0 / (1 + self.current_epoch)}
        )

    def configure_callbacks(self) -> Any:
        return [ModelCheckpoint(monitor=self.monitor, mode="max", save_last=True), LambdaCallback()]


class ReturnsLoss(Validated):
    """A training that logs nothing."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return F.cross_entropy(self(batch[0]), batch[1])


class Chained(Trained):
    """Refuses an argument because of something else."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        raise ValueError(f"rate must be below 1, got {rate}") from KeyError("rate")


class OfOtherPackage(nn.Module):
    """A module of the other package that Lightning has."""


OfOtherPackage.__module__ = "pytorch_lightning.core.module"


class FromOtherPackage(OfOtherPackage):
    """What was written for that package."""


class Returns(Trained):
    """Manual optimization whose step returns what it is told to."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.automatic_optimization = what, False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        kinds = {"nothing": None, "tensor": loss, "mapping": {"acc": 1.0}, "loss": {"loss": loss}, "vector": loss[None]}
        return kinds[self.what]


class Skips(Trained):
    """Automatic optimization that leaves every other step out."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None if batch_idx % 2 else super().training_step(batch, batch_idx)["loss"]


class TwoNets(LightningModule):
    """As a GAN: manual optimization, two optimizers, random numbers in the step, and nothing returned."""

    def __init__(self, broken_batch: int | None = None) -> None:
        super().__init__()
        self.automatic_optimization, self.broken_batch = False, broken_batch
        self.first, self.second = nn.Linear(64, 10), nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 10))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for optimizer, net in zip(self.optimizers(), (self.first, self.second), strict=True):  # type: ignore[arg-type]
            loss = F.cross_entropy(net(batch[0].flatten(1) + torch.randn(64)), batch[1])
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        if self.trainer.fit_loop.total_batch_idx == self.broken_batch:
            with torch.no_grad():
                self.first.weight[0] = torch.nan

    def configure_optimizers(self) -> Any:
        momentum = torch.optim.SGD(self.second.parameters(), 0.01, momentum=0.9)
        return torch.optim.Adam(self.first.parameters(), 0.01), momentum


class OwnLoaders(Validated):
    """Loaders in the module itself."""

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.rand(60, 64), torch.arange(60) % 10), 10)

    val_dataloader = train_dataloader


class Words(LightningModule):
    """Its own loader, of batches that hold no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def train_dataloader(self) -> Any:
        return DataLoader(["a"] * 40, batch_size=5, collate_fn=lambda words: [list(words), ["some", "thing"]])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(torch.ones(3, 2)).pow(2).mean()
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


class OwnData(LightningDataModule):
    """Loaders as everybody writes them; the test's is None."""

    def _loader(self, shuffle: bool) -> Any:
        return DataLoader(TensorDataset(torch.rand(60, 64), torch.arange(60) % 10), 10, shuffle=shuffle)

    def train_dataloader(self) -> Any:
        return self._loader(shuffle=True)

    def val_dataloader(self) -> Any:
        return self._loader(shuffle=False)

    def test_dataloader(self) -> Any:
        return None


class NoTestData(LightningDataModule):
    """A train loader alone."""

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.rand(60, 64), torch.arange(60) % 10), 10)


class KeepsData(NoTestData):
    """Keeps an array and a number of NumPy in its state."""

    def state_dict(self) -> dict[str, Any]:
        return {"mean": np.arange(3.0), "count": np.int64(4)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert (type(state_dict["mean"]), type(state_dict["count"])) == (np.ndarray, np.int64)


class Unnamed(NoTestData):
    """Arguments of a loader by their places alone, which is fine until Lightning makes it anew to predict."""

    def predict_dataloader(self) -> Any:
        return self.train_dataloader()


class Seen(Trained):
    """Writes down which samples each process got."""

    def on_train_start(self) -> None:
        self.seen: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen += batch[1].tolist()
        return self.layer(batch[0]).mean()

    def on_train_epoch_end(self) -> None:
        Path(f"seen{self.global_rank}.json").write_text(json.dumps(self.seen))


class Numbered(LightningDataModule):
    """Twenty samples whose targets are their numbers."""

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.rand(20, 64), torch.arange(20)), 5, shuffle=True)


class Kind(Enum):
    """An object, though a small one."""

    FIRST = 1


class KeepsObjects(Tested):
    """Keeps an object in its checkpoints, where it is told to; what is not told is no plain data either."""

    def __init__(self, where: str = "hook") -> None:
        super().__init__()
        self.where = where

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint |= {"kinds": [Kind.FIRST]} if self.where == "hook" else {}
        assert self.where != "late" or self.trainer.global_step  # the scheduler is looked at all the same

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        assert checkpoint.get("kinds") in (None, [Kind.FIRST])

    def configure_optimizers(self) -> Any:
        optimizer: Any = super().configure_optimizers()
        optimizer.param_groups[0] |= {"kind": Kind.FIRST} if self.where == "optimizer" else {}
        scheduler: Any = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
        scheduler.kind = Kind.FIRST if self.where in ("scheduler", "late") else None
        return [optimizer], [scheduler]


class Warmup:
    """A schedule whose state torch saves, as that of every schedule that is an object."""

    def __init__(self) -> None:
        self.steps, self.table = np.float32(3), np.ones(3)

    def __call__(self, step: int) -> float:
        assert (type(self.steps), type(self.table)) == (np.float32, np.ndarray)
        return min(1.0, float((step + 1) / self.steps))


class KeepsNumpy(Tested):
    """Keeps values of NumPy and the like everywhere, as people do, and hyperparameters that are objects."""

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters({"norm": nn.LayerNorm(3), "rate": np.float32(0.5), "folder": Path("a/b")})
        self.losses: deque[Any] = deque(maxlen=2)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        outputs = super().training_step(batch, batch_idx)
        self.losses.append(np.float32(outputs["loss"].item()))
        return outputs

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["own"] = {"losses": self.losses, "settings": AttributeDict(texts=np.array(["a", "bc"]))}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.losses = checkpoint["own"]["losses"]
        assert (self.losses.maxlen, {*map(type, self.losses)}) == (2, {np.float32})
        assert checkpoint["own"]["settings"]["texts"].tolist() == ["a", "bc"]

    def configure_optimizers(self) -> Any:
        optimizer: Any = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, Warmup())]


class CountsNumpy(Callback):
    """Counts in an array."""

    def __init__(self) -> None:
        self.counts = np.zeros(2, np.int64)

    def on_train_batch_end(self, *args: Any) -> None:
        self.counts[0] += 1

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.counts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.counts = state_dict["counts"]
        assert self.counts.dtype == np.int64


class Parent(Tested):
    """Names some of its hyperparameters."""

    def __init__(self, hidden: int, act: str = "relu") -> None:
        super().__init__()
        self.save_hyperparameters("hidden", "act")


class Child(Parent):
    """Chooses an argument of the class that it derives from, and holds another module; both save theirs."""

    def __init__(self, width: int = 4) -> None:
        super().__init__(hidden=2 * width)
        self.save_hyperparameters()
        self.inner = Parent(hidden=5)


def child(width: int) -> Child:
    """Make a module, as functions do that need more than its arguments."""
    return Child(width + 1)


class FrozenBackbone(Tested):
    """Leaves what it does not train out of its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(64, 64).requires_grad_(False)
        self.strict_loading = False

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {name: value for name, value in super().state_dict(*args, **kwargs).items() if "layer" in name}


class Masked(Validated):
    """A buffer that is infinite by design, a test under a name of its own, and its own `predict`."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))
        self.same = nn.ModuleList([self.layer])

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("testAcc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def predict(self, loader: Any) -> str:
        return f"what the class makes of {loader}"


class MadeInSetup(Tested):
    """Makes its network when the trainer says what for."""

    def setup(self, stage: str) -> None:
        if not isinstance(self.layer, nn.Sequential):
            self.layer = nn.Sequential(nn.Linear(64, 10))  # type: ignore[assignment]


class Grows(Tested):
    """Buffers that change their shape, come later or are made in a validation, and an old weight norm."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bank", torch.empty(0))
        self.register_buffer("late", None)
        self.register_buffer("mean", torch.zeros(1))
        self.layer = nn.utils.weight_norm(self.layer)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == 0:
            self.bank = torch.cat([self.bank, batch[0].flatten(1)[:, 0]])
        self.late = torch.ones(2)
        return super().training_step(batch, batch_idx)

    def on_validation_start(self) -> None:
        self.mean = self.bank.mean()[None] + 1

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in ("bank", "late") if not prefix else ():
            setattr(self, name, torch.empty_like(state_dict[name]))
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[no-untyped-call]


class Untrained(Grows):
    """No optimizer, since nothing is trained."""

    def configure_optimizers(self) -> Any:
        return None


class Layers(nn.Sequential):
    """A network whose defaults are objects, as people write them."""

    def __init__(
        self,
        width: int = 8,
        depth: int = 1,
        norm: Callable[[int], nn.Module] = partial(nn.LayerNorm, eps=0.5),  # noqa: B008
        act: nn.Module = nn.Tanh(),  # noqa: B008
    ) -> None:
        inner = [layer for _ in range(depth) for layer in (nn.Linear(width, width), norm(width), act)]
        super().__init__(nn.Flatten(), nn.Linear(64, width), *inner, nn.Linear(width, 10))


def two_layers(**kwargs: Any) -> Layers:
    """Choose one argument, and hand the others on."""
    return Layers(depth=2, **kwargs)


class HydraStyle(LightningModule):
    """As people write it for the leading Hydra template."""

    def __init__(self, net: nn.Module, optimizer: Optimizer, scheduler: Any = None, compile: bool = False) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.net, self.make_optimizer, self.make_scheduler = net, optimizer, scheduler
        self.val_acc, self.val_acc_best = MulticlassAccuracy(10), MaxMetric()

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.net(images)
        return outputs

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.val_acc(self(batch[0]), batch[1])
        self.log("val/acc", self.val_acc, on_step=False, on_epoch=True, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        self.val_acc_best(self.val_acc.compute())
        self.log("val/acc_best", self.val_acc_best.compute(), sync_dist=True, prog_bar=True)

    def setup(self, stage: str) -> None:
        if self.hparams["compile"] and stage == "fit":
            self.net = torch.compile(self.net)  # type: ignore[assignment]

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(params=self.trainer.model.parameters())  # type: ignore
        scheduler = self.make_scheduler(optimizer=optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val/acc"}}


class HydraStyleChanged(HydraStyle):
    """With what docs/coming-from.md says."""

    def __init__(
        self,
        net: nn.Module,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__(net, optimizer, scheduler, compile)  # type: ignore[arg-type]


class Averaging(torch.optim.SGD):
    """In the manner of the package schedulefree: `eval` shows an average of the weights, `train` what it moves."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr)
        for group in self.param_groups:
            group["train_mode"] = False

    @torch.no_grad()
    def show(self, mode: bool) -> None:
        for group in self.param_groups:
            for weight in group["params"] if group["train_mode"] != mode else ():
                if "other" in self.state[weight]:
                    shown = weight.clone()
                    weight.copy_(self.state[weight]["other"])
                    self.state[weight]["other"] = shown
            group["train_mode"] = mode

    def train(self) -> None:
        self.show(True)

    def eval(self) -> None:
        self.show(False)

    def step(self, closure: Any = None) -> Any:
        assert all(group["train_mode"] for group in self.param_groups)
        loss = super().step(closure)
        for group in self.param_groups:
            for weight in group["params"]:
                self.state[weight].setdefault("other", weight.detach().clone()).lerp_(weight.detach(), 0.1)
        return loss


class PartlyLabelled(ClassifierModule):
    """Validations without a label for the metrics: the first, the third and so on, and all of the first process."""

    def step(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        loss, logits, classes = super().step(batch)
        unlabelled = self.current_epoch % 2 == 0 or (self.trainer.world_size > 1 and self.global_rank == 0)
        return loss, logits, torch.full_like(classes, -1) if unlabelled and not self.training else classes
