import math
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassPrecisionRecallCurve, MultilabelPrecisionRecallCurve

from trainworks.callbacks.helpers.batch import inputs_of
from trainworks.callbacks.helpers.isolation import has_all_weights, isolated, nondeterministic
from trainworks.callbacks.helpers.loggers import never_fatal, send_media, send_pr_curves, steps_so_far
from trainworks.datamodules.annotations import IGNORED_CLASS
from trainworks.errors import UsageError
from trainworks.models.base import BaseModule
from trainworks.models.checks import set_names
from trainworks.models.drawing import draw_sample
from trainworks.models.late_updates import LateUpdates
from trainworks.models.results import box_f1, drawable

CURVES = MulticlassPrecisionRecallCurve | MultilabelPrecisionRecallCurve
MAX_NAMED_CLASSES = 25  # with more, numbers and names in a figure are not readable
NUM_WORST, SCORES = 25, ("loss", "iou", "f1")  # samples of a test in worst.png, chosen by the first that a row has


class EvaluationFigures(Callback):
    """Draw a figure of each of the module's `figure_metrics`, and the worst mistakes of the network.

    The `figure_metrics` are torchmetrics, drawn by their own `plot`, after the training, after a test, and every few
    minutes after a validation. Tags end in /val, /test or the name of a further set, as /val/noisy.

    Args:
        every_n_minutes: Minimum time between two drawings during training.
        num_mistakes: Number of mistakes shown, the most confident ones first, or 0 for none. Each is shown with its
            image and a saliency map (the gradient of the predicted class's logit with respect to the input).
    """

    def __init__(self, every_n_minutes: float = 5.0, num_mistakes: int = 8) -> None:
        if every_n_minutes <= 0 or num_mistakes < 0:
            wanted = "every_n_minutes must be above 0 and num_mistakes at least 0"
            raise ValueError(f"EvaluationFigures: {wanted}, got {every_n_minutes} and {num_mistakes}")
        self.every_n_minutes, self.num_mistakes = every_n_minutes, num_mistakes
        self._sets: list[str] = []  # names of the validation or test sets that are evaluated
        self._mistakes: dict[str, Mistakes] = {}  # by set
        self._worst: dict[str, Mistakes] = {}  # of a test by its table, by set
        self._metrics: dict[str, LateUpdates] = {}  # by set
        self._last_drawn = time.monotonic()
        self._pending = False  # whether the last validation has not been drawn

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the metrics and mistakes of each set."""
        data: Any = getattr(trainer, "datamodule", None)
        names = getattr(data, "class_names", None) or []
        count = getattr(data, "num_classes", None) or len(names) or None
        self._class_names = names or [str(k) for k in range(count or 0)]
        if trainer.is_global_zero and not "".join(self._class_names).isascii():
            from trainworks.models.fonts import use_font_for

            use_font_for(self._class_names)
        threshold = pl_module.threshold if hasattr(type(pl_module), "threshold") else None
        self._sets = set_names(trainer, "test" if trainer.testing else "val")
        for name in self._sets:
            if name not in self._metrics:
                offered = pl_module.figure_metrics(count) if isinstance(pl_module, BaseModule) else {}
                self._metrics[name] = LateUpdates(MetricCollection(dict(offered)).to(pl_module.device))
            self._metrics[name].reset()
            self._mistakes[name] = Mistakes(self.num_mistakes, threshold)
            self._worst[name] = Mistakes(NUM_WORST)

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add one batch to the metrics and mistakes of its set."""
        if isinstance(outputs, dict) and {"predictions", "targets"} <= outputs.keys():
            name, results = self._sets[dataloader_idx], (outputs["predictions"], outputs["targets"])
            try:
                with nondeterministic():
                    self._metrics[name].update(*results)
            except UsageError as error:  # such as a network with more outputs than the data has classes
                if trainer.is_global_zero:
                    print(f"figures are left out: {str(error).removeprefix('model.metrics.')}")
                self._metrics[name] = LateUpdates(MetricCollection({}))
            self._mistakes[name].update(batch, *results)
            if "rows" in outputs:  # of a ResultWriter
                self._worst[name].update(batch, outputs["results"], results[1], outputs["rows"])

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw if `every_n_minutes` have passed since the last drawing."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._pending = True
        if trainer.strategy.broadcast(time.monotonic() - self._last_drawn > 60 * self.every_n_minutes):
            self.on_test_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last validation if it has not been drawn."""
        if self._pending:
            self.on_test_end(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the figures of each set."""
        self._last_drawn, self._pending = time.monotonic(), False
        for name in self._sets:
            self._draw(trainer, pl_module, name)

    def _draw(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Compute the metrics on all ranks, and draw on the first."""
        metrics: Any = self._metrics[stage].metrics
        with nondeterministic(), warnings.catch_warnings(action="ignore"):  # a rank without samples must join in
            values = self._metrics[stage].compute()
        curves = {
            name: trainer.strategy.reduce(metric.confmat.clone(), reduce_op="sum").cpu()
            for name, metric in metrics.items()
            if isinstance(metric, CURVES) and metric.thresholds is not None
        }
        if not trainer.is_global_zero or not (trainer.loggers or trainer.testing):
            return
        step = steps_so_far(trainer)
        for name, value in values.items():
            with never_fatal(f"{name}/{stage}"):
                if name in curves:
                    send_pr_curves(trainer, curves[name], stage, self._class_names[:MAX_NAMED_CLASSES], step)
                # Matplotlib takes minutes for 1,000 curves
                if name not in curves or len(self._class_names) <= MAX_NAMED_CLASSES:
                    send_media(trainer, f"{name}/{stage}", _plot(metrics[name], value, self._class_names), step)
        with never_fatal(f"mistakes/{stage}"):
            if (mistakes := self._mistakes[stage]).worst:
                send_media(trainer, f"mistakes/{stage}", mistakes.draw(trainer, module, self._class_names), step)
        with never_fatal(f"worst/{stage}"):
            if (mistakes := self._worst[stage]).worst:
                figure = mistakes.draw(trainer, module, self._class_names)
                figure.savefig(Path(trainer.default_root_dir, f"worst{stage[4:].replace('/', '_')}.png"))
                plt.close(figure)


class Mistakes:
    """The `count` most severe mistakes of one validation or test.

    The severity is a classifier's confidence, of a mask the share of wrong pixels, of boxes what their F1 score lacks;
    with rows of a test's table it is the loss, or else what IoU or F1 score lack.
    """

    def __init__(self, count: int, threshold: Any = None) -> None:
        self.count, self.threshold = count, threshold
        self.worst: list[tuple[Any, ...]] = []  # severity, image, target, prediction and row

    def update(self, batch: Any, predictions: Any, targets: Any, rows: Sequence[Any] = ()) -> None:
        """Add a batch of images, with logits or torchvision's dictionaries of boxes, or with results and their rows."""
        images = inputs_of(batch)
        first = images[0] if isinstance(images, Tensor | list) and len(images) else None
        if not self.count or getattr(first, "ndim", 0) != 3:
            return
        wrong = torch.tensor([row.get("loss", 1 - row.get("iou", row.get("f1", 1))) for row in rows]).nan_to_num()
        severities, predicted = (wrong, predictions) if rows else _severities(predictions, targets, self.threshold)
        if not isinstance(targets, Tensor | list | tuple) or len(targets) != len(images):  # such as of several heads
            targets = [None] * len(images)
        values, indices = severities.topk(min(self.count, len(severities)))
        least = self.worst[-1][0] if len(self.worst) == self.count else 0
        for value, index in zip(values.tolist(), indices.tolist(), strict=True):
            if value > least:
                mistake = value, images[index], targets[index], predicted[index], rows[index] if rows else None
                self.worst.append(apply_to_collection(mistake, Tensor, Tensor.cpu))
        self.worst = sorted(self.worst, key=lambda mistake: -mistake[0])[: self.count]

    def draw(self, trainer: Trainer, module: LightningModule, names: list[str]) -> Any:
        """Return a figure with the targets above and the predictions, or a classifier's saliency maps, below them."""
        transforms = getattr(getattr(trainer, "datamodule", None), "eval_transform", [])
        columns = min(len(self.worst), 5 if self.worst[0][4] else 4)
        height = 1 if self.worst[0][4] and drawable(self.worst[0][3]) is None else 2
        rows = height * math.ceil(len(self.worst) / columns)
        size, bare = (1.7 * columns + 0.4, 2.2 * rows), {"frame_on": False, "xticks": (), "yticks": ()}
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", subplot_kw=bare)
        for index, (severity, image, target, predicted, row) in enumerate(self.worst):
            number, column = divmod(index, columns)
            upper, lower = axes[height * number, column], axes[height * (number + 1) - 1, column]
            found, title = predicted, f"{severity:.0%} wrong"
            if row:
                found, title = drawable(predicted, names), Path(str(row["input"])).name[-24:]
                keys = [key for key in row if key not in ("input", *SCORES)][:2] if found is None else []
                for key in [*keys, *(key for key in SCORES if key in row)]:
                    title += f"\n{key} {row[key]:.3g}" if isinstance(row[key], float) else f"\n{key} {row[key]}"
            elif isinstance(predicted, Tensor) and predicted.ndim == 0:
                true, wrong = (names[k] if k < len(names) else str(k) for k in (int(target), int(predicted)))
                found, title = None, f"is {true}\n{wrong} {severity:.2f}"
                if has_all_weights(trainer) and isinstance(getattr(module, "net", None), nn.Module):
                    lower.imshow(_saliency(module, image[None], predicted)[0].float().numpy(), cmap="inferno")
            for axis, drawn in ((upper, target), (lower, found)) if found is not None else ((upper, None),):
                axis.imshow(draw_sample(image, drawn, transforms, names).permute(1, 2, 0).numpy())
            upper.set_title(title, fontsize=9, parse_math=False)
        return figure


def _plot(metric: Metric, value: Any, names: list[str]) -> Any:
    """Return the figure that a metric plots, with the names of the classes where they are readable."""
    metric = getattr(metric, "wrapped_metric", metric)
    few = len(names) <= MAX_NAMED_CLASSES
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


def _severities(predictions: Any, targets: Any, threshold: Any) -> tuple[Tensor, Any]:
    """Return how severe each mistake is, shape (B,), 0 for a right prediction, and the predicted classes or boxes."""
    if isinstance(predictions, list) and all(isinstance(found, dict) and "scores" in found for found in predictions):
        sure = [found["scores"] >= (threshold or 0.5) for found in predictions]  # confident boxes count
        confident = [{key: item[k] for key, item in found.items()} for found, k in zip(predictions, sure, strict=True)]
        scores = [
            box_f1(one["boxes"], one["labels"].tolist(), other["boxes"], other["labels"].tolist())
            for one, other in zip(confident, targets, strict=True)
        ]
        return 1 - torch.tensor(scores), confident
    known = isinstance(predictions, Tensor) and isinstance(targets, Tensor) and predictions.ndim in (2, 4)
    if not known or targets.is_floating_point() or predictions.shape[1] < 2 or predictions[:, 0].shape != targets.shape:
        return torch.zeros(0), ()  # neither classes, masks nor boxes
    if predictions.ndim == 4:
        classes = predictions.argmax(dim=1)
        return ((classes != targets) & (targets != IGNORED_CLASS)).float().mean(dim=(1, 2)), classes
    shares = torch.softmax(predictions.float(), dim=1)
    classes = shares.argmax(dim=1) if threshold is None else (shares[:, 1] > threshold).long()
    confidence = shares.gather(1, classes[:, None])[:, 0]
    return torch.where(classes != targets, confidence, 0.0), classes


def _saliency(module: Any, images: Tensor, predicted: Tensor) -> Tensor:
    """Return the gradient of the predicted class's logit for each pixel, shape (B, H, W) (arXiv:1312.6034)."""
    with isolated(module), torch.inference_mode(False), torch.enable_grad():
        inputs = images.clone().to(module.device).requires_grad_()
        (gradient,) = torch.autograd.grad(module.net(inputs)[:, predicted].sum(), inputs)
    return gradient.abs().amax(dim=1).cpu()
