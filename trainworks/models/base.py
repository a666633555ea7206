import math
from collections import defaultdict
from functools import partial
from typing import Any, Literal

import torch
from jsonargparse.typing import register_type
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.optim import LBFGS
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric, MetricCollection

from trainworks.models.checks import MissingPart, check_names, set_names
from trainworks.models.late_updates import LateUpdates
from trainworks.models.metrics import RunningMean
from trainworks.optim.parameters import Factories, build_optimizer
from trainworks.optim.schedulers import build_scheduler, steps_per_batch

# lets a configuration write a tensor as a list: CrossEntropyLoss' weight, BCEWithLogitsLoss' pos_weight, ...
register_type(Tensor, serializer=Tensor.tolist, deserializer=partial(torch.tensor, dtype=torch.float32))

Stage = Literal["train", "val", "test"]


class BaseModule(LightningModule):
    """What every module shares: one step, running metrics, optimizer and scheduler.

    A subclass writes `step`. Losses and metrics are summed on the device and read once an epoch; the loss of single
    steps and the learning rate are read every `trainer.log_every_n_steps` steps. Each validation or test set has its
    own: val/loss is that of the set "val", val/noisy/loss that of the set "val/noisy".

    Args:
        net: The network to train. It may be left out where `step` does not use it, and so may the loss.
        loss: Called with the network's outputs and the targets; returns the mean over the batch.
        optimizer: Made over the parameters that train; may be left out where `configure_optimizers` is another.
        scheduler: Changes the learning rate; its `total_steps`, if it has one, is filled in from the trainer.
        scheduler_interval: When the scheduler steps. If left out: after each batch for schedulers that know their
            total steps (OneCycleLR, WarmupCosine) and CyclicLR, after each epoch for all others.
        scheduler_monitor: Metric that ReduceLROnPlateau watches.
        metrics: torchmetrics by name; each is logged as train/<name>, val/<name> and test/<name>.
        train_metrics: Whether `metrics` are computed over the training batches too.
        decay_norm_and_bias: Whether weight decay also acts on norm layers and biases.
        layer_decay: Factor from the learning rate of one layer to that of the layer before it, in (0, 1]; for
            fine-tuning, 0.65 to 0.9 (arXiv:1801.06146).

    Raises:
        ValueError: If a metric is called "loss" or has a dot in its name, or something is left out that is needed.
    """

    net: nn.Module
    loss: nn.Module

    def __init__(
        self,
        net: nn.Module | None = None,
        loss: nn.Module | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["step", "epoch"] | None = None,
        scheduler_monitor: str = "val/loss",
        metrics: dict[str, Metric] | None = None,
        train_metrics: bool = True,
        decay_norm_and_bias: bool = False,
        layer_decay: float = 1.0,
    ) -> None:
        super().__init__()
        check_names(metrics or {})
        if _given_hyperparameters.get() is not None:  # by the command line: plain data, unlike a network made in Python
            self.save_hyperparameters()
        if net is not None:  # else there is no such attribute, see `__getattr__`
            self.net = net
        if loss is not None:
            self.loss = loss
        self._factories = Factories((optimizer, scheduler))
        self._scheduler_interval = scheduler_interval
        self._scheduler_monitor = scheduler_monitor
        collection = MetricCollection(dict(metrics or {}))
        used = MetricCollection({}) if not train_metrics else collection
        self.train_metrics = used.clone(prefix="train/")
        self.val_metrics = collection.clone(prefix="val/")
        self.test_metrics = collection.clone(prefix="test/")
        self._late: dict[str, LateUpdates] = {}  # the metrics of each set that was met
        self._grouping = decay_norm_and_bias, layer_decay
        self._means: defaultdict[str, RunningMean] = defaultdict(RunningMean)  # of the loss, by set

    def __getattr__(self, name: str) -> Any:
        """Return a submodule, parameter or buffer; a net or loss that was left out is a MissingPart."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in ("net", "loss"):
                raise MissingPart(self, name) from None
            raise

    def step(self, batch: Any) -> tuple[Tensor, Any, Any]:
        """Return loss (a scalar), predictions and targets (as the metrics take them) of one batch."""
        raise NotImplementedError(f"{type(self).__name__} must define step(batch)")

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the network."""
        return self.net(inputs)

    def metric_names(self, stage: Stage) -> list[str]:
        """Return the full names of all that is logged at the end of an epoch of `stage`."""
        sets = [stage] if stage == "train" else set_names(self.trainer_or_none, stage)
        return [metric for name in sets for metric in self.logged_names(name)]

    def logged_names(self, name: str) -> list[str]:
        """Return the full names of all that is logged of one set, such as "train", "val" or "val/noisy"."""
        return [f"{name}/loss", *map(str, self._updates(name).metrics.keys())]

    def epoch_results(self, name: str) -> dict[str, Tensor]:
        """Return what is logged of the metrics of one set at the end of an epoch."""
        return self._updates(name).compute()

    def metrics_of(self, name: str) -> MetricCollection:
        """Return the metrics of one set."""
        return self._updates(name).metrics

    @property
    def trainer_or_none(self) -> Trainer | None:
        """The trainer, or None where the module is attached to none; `trainer` then raises a RuntimeError."""
        try:
            return self.trainer
        except RuntimeError:
            return None

    @property
    def is_training_run(self) -> bool:
        """Whether the module belongs to a trainer that trains; False for one that evaluates, or for none."""
        trainer = self.trainer_or_none
        return trainer is not None and trainer.training

    def figure_metrics(self, num_classes: int | None) -> dict[str, Metric]:
        """Return metrics that are worth a figure at the end, by name; `num_classes` is None where there are none."""
        return {}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Train on one batch."""
        return self._shared_step(batch, "train")["loss"]

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Validate on one batch; callbacks get loss, predictions and targets."""
        return self._shared_step(batch, set_names(self.trainer_or_none, "val")[dataloader_idx])

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Test on one batch; callbacks get loss, predictions and targets."""
        return self._shared_step(batch, set_names(self.trainer_or_none, "test")[dataloader_idx])

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log this step's loss and learning rate, every so many steps."""
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.trainer.fit_loop.total_batch_idx + 1) % every == 0:
            rate = self.trainer.optimizers[0].param_groups[0]["lr"]
            loss = float(outputs["loss"]) * self.trainer.accumulate_grad_batches  # by which Lightning divided it
            values = {"train/loss_step": loss, "lr": float(rate)}
            step = self.trainer.fit_loop.epoch_loop._batches_that_stepped  # from 0, as Lightning counts its own metrics
            for logger in self.loggers:
                logger.log_metrics(values, step=step)

    def on_train_start(self) -> None:
        """Let optimizers that average weights, as those of the package schedulefree, show those that are trained."""
        self._show_weights("train")

    on_train_epoch_start = on_validation_end = on_train_start

    def on_validation_start(self) -> None:
        """Let them show the average, which the best checkpoint then has: it is saved after an epoch, too."""
        self._show_weights("eval")

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training metrics."""
        self._show_weights("eval")
        self._log_epoch(["train"])

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of each validation set."""
        self._log_epoch(set_names(self.trainer, "val"))

    def on_test_epoch_end(self) -> None:
        """Log the metrics of each test set."""
        self._log_epoch(set_names(self.trainer, "test"))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build optimizer and scheduler."""
        make_optimizer, make_scheduler = self._factories
        if not hasattr(self, "net") and not list(self.parameters()):
            raise MissingPart(self, "net")  # before the optimizer refuses to have no parameters
        if make_optimizer is None:
            raise MissingPart(self, "optimizer")
        optimizer = build_optimizer(make_optimizer, self, *self._grouping)
        if isinstance(optimizer, LBFGS) and self.trainer.accumulate_grad_batches > 1:
            raise ValueError("LBFGS cannot accumulate gradients; set trainer.accumulate_grad_batches to 1")
        if make_scheduler is None:
            return optimizer
        scheduler = build_scheduler(make_scheduler, optimizer, self._total_steps)
        interval = self._scheduler_interval or ("step" if steps_per_batch(scheduler) else "epoch")
        monitor = getattr(scheduler, "monitor", self._scheduler_monitor)
        if isinstance(scheduler, ReduceLROnPlateau) and interval == "step":
            raise ValueError("ReduceLROnPlateau watches a metric of whole epochs; leave model.scheduler_interval out")
        config: Any = {"scheduler": scheduler, "interval": interval, "monitor": monitor}
        return {"optimizer": optimizer, "lr_scheduler": config}

    def _total_steps(self) -> float:
        """Return how often a scheduler steps."""
        if self._scheduler_interval != "epoch":
            return self.trainer.estimated_stepping_batches
        epochs = self.trainer.max_epochs
        return math.inf if epochs in (None, -1) else epochs

    def metric_state(self) -> dict[str, Any]:
        """Return the metric state of the running training epoch on this process, on the CPU."""
        return {"loss": self._means["train"].state(), **self._updates("train").state()}

    def load_metric_state(self, state: dict[str, Any]) -> None:
        """Go on from what `metric_state` returned."""
        self._means["train"].load(state["loss"], self.device)
        self._updates("train").load(state, self.device)

    def _show_weights(self, mode: str) -> None:
        for optimizer in self.trainer.optimizers:
            for part in getattr(optimizer, "optimizers", [optimizer]):  # of an OptimizerByName
                getattr(part, mode, lambda: None)()

    def _shared_step(self, batch: Any, name: str) -> dict[str, Any]:
        loss, predictions, targets = self.step(batch)
        predictions = apply_to_collection(predictions, Tensor, Tensor.detach)
        self._means[name].update(loss.detach(), len(targets))
        self._updates(name).update(predictions, targets)
        return {"loss": loss, "predictions": predictions, "targets": targets}

    def _updates(self, name: str) -> LateUpdates:
        """Return what gives its metrics to the training, or to a validation or test set."""
        if name not in self._late:
            stage = name.partition("/")[0]
            metrics: MetricCollection = getattr(self, f"{stage}_metrics")
            self._late[name] = LateUpdates(metrics if name == stage else metrics.clone(prefix=f"{name}/"))
            if name != stage:
                self._late[name].metrics.reset()
        return self._late[name]

    def _log_epoch(self, sets: list[str]) -> None:
        """Log the means over all samples of all ranks, and start anew."""
        values: dict[str, Tensor] = {}
        for name in sets:
            loss = self._means[name].compute(self.trainer.strategy.reduce)
            values |= {f"{name}/loss": loss, **self.epoch_results(name)}
            self._means[name].reset()
            self._updates(name).reset()
        self.log_dict(values, sync_dist=isinstance(self.trainer.strategy, ParallelStrategy))
