import math
from collections import defaultdict
from functools import partial
from typing import Any, Literal

import torch
from jsonargparse.typing import register_type
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.optim import LBFGS
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric, MetricCollection

from trainworks.models.checks import MissingPart, check_names, check_step, num_samples, set_names, trainer_of
from trainworks.models.late_updates import LateUpdates
from trainworks.models.left_out import LeftOut
from trainworks.models.running_mean import RunningMean
from trainworks.optim.parameters import Factories, build_optimizer, current_rate, switch_weights

# lets a configuration write a tensor as a list, such as the weight of CrossEntropyLoss
register_type(Tensor, serializer=Tensor.tolist, deserializer=partial(torch.tensor, dtype=torch.float32))


class BaseModule(LightningModule):
    """The base of every module: one step for all stages, metrics of whole epochs, optimizer and scheduler.

    A subclass defines `step`. Losses and metrics are summed on the device and read once an epoch; the loss of a single
    step and the learning rate are read every `trainer.log_every_n_steps` steps. Each validation or test set has metrics
    of its own: val/loss belongs to the set "val", val/noisy/loss to the set "val/noisy".

    Args:
        net: The network to train. It may be left out where `step` does not use it.
        loss: Called with outputs and targets; returns the mean over the batch. It may be left out like `net`.
        optimizer: The optimizer of the parameters. It may be left out where `configure_optimizers` is overridden.
        scheduler: The learning-rate schedule; its `total_steps`, if it has any, comes from the trainer.
        scheduler_interval: When the scheduler steps. If left out: after each batch for CyclicLR and schedulers with
            total steps (OneCycleLR, WarmupCosine), after each epoch for all others.
        scheduler_monitor: Metric that ReduceLROnPlateau watches.
        metrics: torchmetrics by name, logged as train/<name>, val/<name> and test/<name>, those with a value for each
            class as val/<name>/<class>; no dots, and not "loss".
        train_metrics: Whether `metrics` are also computed over the training batches.
        decay_norm_and_bias: Whether weight decay also acts on norm layers and biases.
        layer_decay: Factor from the learning rate of a layer to that of the layer before it, in (0, 1]; 0.65 to 0.9
            for fine-tuning (arXiv:1801.06146).
    """

    net: nn.Module
    loss: nn.Module
    class_names: list[str] | None = None  # of the data, in the order of their numbers
    threshold: float | list[float] | None  # of classes whose results use one; see docs/tasks.md

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
        if _given_hyperparameters.get() is not None:  # the command line builds it
            self.save_hyperparameters()
        for name, part in (("net", net), ("loss", loss)):
            if part is not None:  # else `__getattr__` says what is missing
                setattr(self, name, part)
        self._factories = Factories((optimizer, scheduler))
        self._scheduler_interval, self._scheduler_monitor = scheduler_interval, scheduler_monitor
        collection = MetricCollection(dict(metrics or {}))
        self.train_metrics = (collection if train_metrics else MetricCollection({})).clone(prefix="train/")
        self.val_metrics = collection.clone(prefix="val/")
        self.test_metrics = collection.clone(prefix="test/")
        self._late_updates: dict[str, LateUpdates] = {}  # of the metrics, by set
        self._left_out = LeftOut()
        self._mean_losses: defaultdict[str, RunningMean] = defaultdict(RunningMean)  # by set
        self._group_options = decay_norm_and_bias, layer_decay  # for the parameter groups of the optimizer

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

    def forward(self, inputs: Any) -> Any:
        """Return the predictions for inputs, as `step` gives them to the metrics."""
        return self.net(inputs)

    def results(self, predictions: Any, class_names: list[str] | None) -> Any:
        """Return a result for each of the predictions, such as a ClassResult; the predictions themselves by default."""
        return predictions

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """Return a result for each input of a batch, which is the inputs or begins with them."""
        return self.results(self(batch[0] if isinstance(batch, tuple | list) else batch), self.class_names)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the threshold of `validate --threshold`; a training that goes on begins without one."""
        if hasattr(type(self), "threshold"):  # else it is an attribute of the task's own
            self.threshold = ({} if self.is_training_run else checkpoint).get("threshold", type(self).threshold)

    def metric_names(self, stage: str) -> list[str]:
        """Return the full names of what is logged at the end of an epoch of `stage`: "train", "val" or "test"."""
        sets = [stage] if stage == "train" else set_names(trainer_of(self), stage)
        return [metric for name in sets for metric in self.logged_names(name)]

    def logged_names(self, name: str) -> list[str]:
        """Return the full names of what is logged of one set, such as "train", "val" or "val/noisy"."""
        return [f"{name}/loss", *self._updates(name).names(self.class_names)]

    def epoch_results(self, name: str) -> dict[str, Tensor]:
        """Return the values of the metrics of one set at the end of an epoch, by full name; NaN is not logged."""
        return self._updates(name).named_results(self.class_names)

    def metrics_of(self, name: str) -> MetricCollection:
        """Return the metrics of one set."""
        return self._updates(name).metrics

    @property
    def is_training_run(self) -> bool:
        """Whether the module is attached to a trainer that is training, and not to one that evaluates."""
        return bool(getattr(trainer_of(self), "training", False))

    def figure_metrics(self, num_classes: int | None) -> dict[str, Metric]:
        """Return metrics to be drawn as figures at the end, by name; `num_classes` is None without classes."""
        return {}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Train on one batch."""
        self._rate = current_rate(trainer_of(self))  # before a scheduler changes it
        return self._shared_step(batch, "train")["loss"]

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Validate on one batch; callbacks get loss, predictions and targets."""
        return self._shared_step(batch, set_names(trainer_of(self), "val")[dataloader_idx])

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Test on one batch; callbacks get loss, predictions and targets."""
        return self._shared_step(batch, set_names(trainer_of(self), "test")[dataloader_idx])

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the loss and the learning rate of this step, every `log_every_n_steps` steps."""
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.trainer.fit_loop.total_batch_idx + 1) % every == 0:
            loss = float(outputs["loss"]) * self.trainer.accumulate_grad_batches  # by which Lightning divided it
            step = self.trainer.fit_loop.epoch_loop._batches_that_stepped  # from 0, as Lightning counts its own metrics
            for logger in self.loggers:
                logger.log_metrics({"train/loss_step": loss, "lr": float(self._rate)}, step=step)

    def on_train_start(self) -> None:
        """Train on the weights that are trained, where the optimizer averages them; see `switch_weights`."""
        switch_weights(self.trainer.optimizers, "train")

    on_train_epoch_start = on_validation_end = on_train_start

    def on_validation_start(self) -> None:
        """Evaluate the average, which the best checkpoint then holds."""
        switch_weights(self.trainer.optimizers, "eval")

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training metrics; checkpoints that are saved now hold the average of the weights."""
        switch_weights(self.trainer.optimizers, "eval")
        self._log_epoch(["train"])

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of each validation or test set."""
        self._log_epoch(set_names(self.trainer, "test" if self.trainer.testing else "val"))

    on_test_epoch_end = on_validation_epoch_end

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build optimizer and scheduler."""
        make_optimizer, make_scheduler = self._factories
        if make_optimizer is None or not (hasattr(self, "net") or list(self.parameters())):
            raise MissingPart(self, "net" if make_optimizer else "optimizer")
        optimizer = build_optimizer(make_optimizer, self, *self._group_options)
        if isinstance(optimizer, LBFGS) and self.trainer.accumulate_grad_batches > 1:
            raise ValueError("LBFGS cannot accumulate gradients; set trainer.accumulate_grad_batches to 1")
        if make_scheduler is None:
            return optimizer
        from trainworks.optim.schedulers import build_scheduler, steps_per_batch

        scheduler = build_scheduler(make_scheduler, optimizer, self._total_steps)
        interval = self._scheduler_interval or ("step" if steps_per_batch(scheduler) else "epoch")
        monitor = getattr(scheduler, "monitor", self._scheduler_monitor)
        if isinstance(scheduler, ReduceLROnPlateau) and interval == "step":
            raise ValueError("ReduceLROnPlateau watches a metric of whole epochs; leave model.scheduler_interval out")
        config: Any = {"scheduler": scheduler, "interval": interval, "monitor": monitor}
        return {"optimizer": optimizer, "lr_scheduler": config}

    def _total_steps(self) -> float:
        """Return the number of steps of a scheduler."""
        if self._scheduler_interval != "epoch":
            return self.trainer.estimated_stepping_batches
        return math.inf if self.trainer.max_epochs in (None, -1) else self.trainer.max_epochs

    def metric_state(self) -> dict[str, Any]:
        """Return the metric state of the current training epoch of this process, on the CPU."""
        return {"loss": self._mean_losses["train"].state(), **self._updates("train").state()}

    def load_metric_state(self, state: dict[str, Any]) -> None:
        """Continue from what `metric_state` returned."""
        self._mean_losses["train"].load(state["loss"], self.device)
        self._updates("train").load(state, self.device)

    def _shared_step(self, batch: Any, name: str) -> dict[str, Any]:
        loss, predictions, targets = check_step(self, self.step(batch))
        predictions = apply_to_collection(predictions, Tensor, Tensor.detach)
        self._mean_losses[name].update(loss.detach(), num_samples(targets))
        self._updates(name).update(predictions, targets)
        return {"loss": loss, "predictions": predictions, "targets": targets}

    def _updates(self, name: str) -> LateUpdates:
        """Return the metrics of the training, or of a validation or test set, with what waits for them."""
        if name not in self._late_updates:
            stage, _, further = name.partition("/")
            metrics: MetricCollection = getattr(self, f"{stage}_metrics")
            if further:
                metrics = metrics.clone(prefix=f"{name}/")
                metrics.reset()
            self._late_updates[name] = LateUpdates(metrics)
        return self._late_updates[name]

    def _log_epoch(self, sets: list[str]) -> None:
        """Log the means over all samples of all ranks, and reset the metrics."""
        values: dict[str, Any] = {}
        for name in sets:
            results = self.epoch_results(name)
            values |= dict.fromkeys(self.logged_names(name), math.nan) | results
            values[f"{name}/loss"] = self._mean_losses[name].compute(self.trainer.strategy.reduce)
            self._mean_losses[name].reset()
            self._updates(name).reset()
        values = self._left_out.without(self.trainer, values)
        self.log_dict(values, sync_dist=isinstance(self.trainer.strategy, ParallelStrategy))
