import math
import time
import warnings
from typing import Any

import matplotlib.pyplot as plt
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassPrecisionRecallCurve, MultilabelPrecisionRecallCurve
from torchvision.ops import box_iou

from trainworks.callbacks.helpers.batch import inputs_of
from trainworks.callbacks.helpers.media import denormalize, draw_target, never_fatal, send_media, steps_so_far, writers
from trainworks.callbacks.helpers.undisturbed import any_order, can_run_alone, undisturbed
from trainworks.errors import UsageError
from trainworks.models.base import BaseModule
from trainworks.models.checks import set_names
from trainworks.models.late_updates import LateUpdates

MANY_CLASSES = 25  # above, numbers and names would not be readable
COLUMNS = 4  # of the figure of mistakes
IGNORED = 255  # the class of pixels that count for nothing


class EvaluationFigures(Callback):
    """Draw what the network gets wrong: a figure of every metric that the module offers, and the worst mistakes.

    The module's `figure_metrics` are torchmetrics, drawn by their own `plot`. Figures are made at the end of training
    and of a test, and in between now and then. Tags end in /val, /test or the name of a further set, as /val/noisy.

    Args:
        every_n_minutes: Least time between two drawings during training.
        num_mistakes: How many of the most confident mistakes are shown, each with its image and what in it the
            network's answer depends on (the gradient with respect to the input); 0 for none.
    """

    def __init__(self, every_n_minutes: float = 5.0, num_mistakes: int = 8) -> None:
        if every_n_minutes <= 0 or num_mistakes < 0:
            wanted = "every_n_minutes must be above 0 and num_mistakes at least 0"
            raise ValueError(f"EvaluationFigures: {wanted}, got {every_n_minutes} and {num_mistakes}")
        self.every_n_minutes, self.num_mistakes = every_n_minutes, num_mistakes
        self._sets: list[str] = []  # of the last validation or test
        self._mistakes: dict[str, Mistakes] = {}  # by set
        self._metrics: dict[str, LateUpdates] = {}  # by set
        self._drawn = time.monotonic()
        self._waiting = False  # whether the last validation has not been drawn

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        datamodule: Any = getattr(trainer, "datamodule", None)
        names, count = (getattr(datamodule, name, None) for name in ("class_names", "num_classes"))
        count = count or len(names or ()) or None
        self._names = names or [str(k) for k in range(count or 0)]
        self._sets = set_names(trainer, "test" if trainer.testing else "val")
        for name in self._sets:
            if name not in self._metrics:
                offered = pl_module.figure_metrics(count) if isinstance(pl_module, BaseModule) else {}
                self._metrics[name] = LateUpdates(MetricCollection(dict(offered)).to(pl_module.device))
            self._metrics[name].reset()
            self._mistakes[name] = Mistakes(self.num_mistakes)

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count one batch."""
        if isinstance(outputs, dict) and {"predictions", "targets"} <= outputs.keys():
            name, given = self._sets[dataloader_idx], (outputs["predictions"], outputs["targets"])
            try:
                with any_order():
                    self._metrics[name].update(*given)
            except UsageError as error:  # such as a network with more outputs than the data has classes
                if trainer.is_global_zero:
                    print(f"figures are left out: {str(error).removeprefix('model.metrics.')}")
                self._metrics[name] = LateUpdates(MetricCollection({}))
            self._mistakes[name].update(batch, *given)

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw now and then."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._waiting = True
        if trainer.strategy.broadcast(time.monotonic() - self._drawn > 60 * self.every_n_minutes):
            self.on_test_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last validation."""
        if self._waiting:
            self.on_test_end(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw what was found in each set."""
        self._drawn, self._waiting = time.monotonic(), False
        for name in self._sets:
            self._draw(trainer, pl_module, name)

    def _draw(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Compute on all ranks, draw on the first."""
        metrics = self._metrics[stage].metrics
        with any_order(), warnings.catch_warnings(action="ignore"):  # of a process without a sample, which must join in
            values = self._metrics[stage].compute()
        if not trainer.is_global_zero or not trainer.loggers:
            return
        step = steps_so_far(trainer)
        for name, value in values.items():
            with never_fatal(f"{name}/{stage}"):
                metric = metrics[name]
                curves = isinstance(metric, MulticlassPrecisionRecallCurve | MultilabelPrecisionRecallCurve)
                if curves:
                    _send_pr_curves(trainer, metric, stage, self._names, step)
                if not curves or len(self._names) <= MANY_CLASSES:  # Matplotlib takes minutes for 1,000 curves
                    send_media(trainer, f"{name}/{stage}", _plot(metric, value, self._names), step)
        with never_fatal(f"mistakes/{stage}"):
            if figure := self._mistakes[stage].draw(trainer, module, self._names):
                send_media(trainer, f"mistakes/{stage}", figure, step)


class Mistakes:
    """The `count` worst answers of one round of validation or test.

    A classifier's are the wrong ones with the greatest confidence; those of masks and boxes have the greatest share of
    wrong pixels, or of boxes without a counterpart.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: list[tuple[float, Tensor, Any, Any]] = []  # badness, image, target, answer

    def update(self, batch: Any, predictions: Any, targets: Any) -> None:
        """Look at one batch that begins with images.

        Predictions are logits, shape (B, K) or (B, K, H, W), or torchvision's dictionaries of boxes; targets are
        classes, shape (B,) or (B, H, W), or such dictionaries.
        """
        images = inputs_of(batch)
        if not self.count or not isinstance(images, Tensor | list) or not len(images) or images[0].ndim != 3:
            return
        badness, answers = _judge(predictions, targets)
        values, places = badness.topk(min(self.count, len(badness)))
        for value, place in zip(values.tolist(), places.tolist(), strict=True):
            if value > 0:
                kept = value, images[place], targets[place], answers[place]
                self._kept.append(apply_to_collection(kept, Tensor, Tensor.cpu))
        self._kept = sorted(self._kept, key=lambda item: -item[0])[: self.count]

    def draw(self, trainer: Trainer, module: LightningModule, names: list[str]) -> Any | None:
        """Return a figure: the truth above, the answer below; a classifier's answer is shown by what it depends on."""
        if not self._kept:
            return None
        transforms = getattr(getattr(trainer, "datamodule", None), "eval_transform", [])
        columns = min(len(self._kept), COLUMNS)
        rows = 2 * math.ceil(len(self._kept) / columns)
        figure, axes = plt.subplots(rows, columns, figsize=(1.7 * columns + 0.4, 2.1 * rows), squeeze=False)
        for number, (badness, image, target, answer) in enumerate(self._kept):
            row, column = divmod(number, columns)
            upper, lower = axes[2 * row : 2 * row + 2, column]
            plain = denormalize(image[None], transforms)[0].expand(3, -1, -1)
            if isinstance(answer, Tensor) and answer.ndim == 0:
                upper.imshow(plain.permute(1, 2, 0).numpy())
                truth, taken = (names[k] if k < len(names) else str(k) for k in (int(target), int(answer)))
                upper.set_title(f"is {truth}\n{taken} {badness:.2f}", fontsize=9)
                if can_run_alone(trainer) and isinstance(getattr(module, "net", None), nn.Module):
                    lower.imshow(_saliency(module, image[None], answer)[0].float().numpy(), cmap="inferno")
            else:
                upper.set_title(f"{badness:.0%} wrong", fontsize=9)
                upper.imshow(draw_target(plain, target).permute(1, 2, 0).numpy())
                lower.imshow(draw_target(plain, answer).permute(1, 2, 0).numpy())
        for axis in axes.flat:
            axis.axis("off")
        figure.tight_layout()
        return figure


def _plot(metric: Metric, value: Any, names: list[str]) -> Any:
    """Return the figure that a metric draws of itself."""
    few = len(names) <= MANY_CLASSES
    if "ConfusionMatrix" in type(metric).__name__:
        figure, axes = metric.plot(value, add_text=few, labels=names if few else None)
        figure.set_size_inches(7, 7)
        return figure
    figure, axes = metric.plot(value)
    if legend := axes.get_legend():  # beside the curves, not over them
        handles = legend.legend_handles
        legend.remove()
        if few and len(handles) == len(names):
            axes.legend(handles, names, loc="upper left", bbox_to_anchor=(1.02, 1.0))
    figure.tight_layout()
    return figure


def _send_pr_curves(trainer: Trainer, metric: Any, stage: str, names: list[str], step: int) -> None:
    """Fill TensorBoard's own panel, from the counts that the metric keeps for each threshold."""
    counts: Tensor = metric.confmat.cpu()  # (thresholds, classes, actual, predicted)
    for writer in writers(trainer):
        for k, name in enumerate(names[:MANY_CLASSES]):
            tn, fp, fn, tp = (counts[:, k, actual, predicted] for actual in (0, 1) for predicted in (0, 1))
            precision, recall = tp / (tp + fp).clamp(min=1), tp / (tp + fn).clamp(min=1)
            values = [item.double().numpy() for item in (tp, fp, tn, fn, precision, recall)]
            writer.add_pr_curve_raw(f"pr_curve/{stage}/{name}", *values, step, num_thresholds=len(counts))


def _judge(predictions: Any, targets: Any) -> tuple[Tensor, Any]:
    """Return how bad each answer is, shape (B,), 0 for right, and the answers."""
    if not isinstance(predictions, Tensor):  # of a detector, the boxes that it is sure of
        sure = [{key: value[found["scores"] > 0.5] for key, value in found.items()} for found in predictions]
        return torch.tensor([_unmatched(*pair) for pair in zip(sure, targets, strict=True)]), sure
    if predictions.ndim == 4:
        answers = predictions.argmax(dim=1)
        return ((answers != targets) & (targets != IGNORED)).float().mean(dim=(1, 2)), answers
    if predictions.ndim == 2 and targets.ndim == 1 and not targets.is_floating_point():
        confidence, answers = torch.softmax(predictions.float(), dim=1).max(dim=1)
        return torch.where(answers != targets, confidence, 0.0), answers
    return torch.zeros(len(targets)), targets  # neither classes, masks nor boxes


def _unmatched(answer: dict[str, Tensor], target: dict[str, Tensor]) -> float:
    """Return the share of boxes, of truth and answer, that half overlap no box of the same class of the other."""
    overlap = box_iou(answer["boxes"], target["boxes"]) > 0.5
    overlap &= answer["labels"][:, None] == target["labels"][None]
    total, matched = sum(overlap.shape), int(overlap.any(dim=0).sum() + overlap.any(dim=1).sum())
    return (total - matched) / max(total, 1)


def _saliency(module: Any, images: Tensor, answer: Tensor) -> Tensor:
    """Return how strongly an answer's logit depends on each pixel, shape (B, H, W) (arXiv:1312.6034)."""
    with undisturbed(module), torch.inference_mode(False), torch.enable_grad():
        inputs = images.clone().to(module.device).requires_grad_()
        (gradient,) = torch.autograd.grad(module.net(inputs)[:, answer].sum(), inputs)
    return gradient.abs().amax(dim=1).cpu()
