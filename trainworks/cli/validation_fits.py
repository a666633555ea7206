"""What the command validate fits to the first validation set and keeps in the checkpoint: a temperature, thresholds."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from lightning.pytorch.callbacks import LambdaCallback
from lightning_utilities.core.apply_func import apply_to_collection
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchvision.ops import box_iou

from trainworks.callbacks.helpers.loggers import never_fatal, send_media, steps_so_far
from trainworks.cli.evaluation import evaluate
from trainworks.errors import UsageError
from trainworks.models.metrics import ReliabilityDiagram
from trainworks.runs.checkpoint_io import DurableCheckpointIO, read_checkpoint
from trainworks.runs.files import is_sharded

MEASURES = ("f1", "precision", "recall")


def fit_temperature(session: Any, path: str) -> None:
    """Fit the temperature by which all logits of a classifier are divided, which calibrates it (arXiv:1706.04599)."""
    module, trainer = session.model, session.trainer
    if not hasattr(module, "temperature"):
        raise UsageError(f"--calibrate true needs a ClassifierModule, got {type(module).__name__}")
    take = lambda logits, targets: (logits.float() * module.temperature, targets)  # noqa: E731  those of the network
    logits, targets = map(torch.cat, _validated(session, path, "--calibrate true", take))
    if bool((logits.argmax(dim=1) == targets).all()):
        reason = f"all {len(targets)} validation samples are classified right, so the best one is 0"
        raise UsageError(f"--calibrate true cannot fit a temperature: {reason}; validate on more samples")
    temperature, entropies = fitted_temperature(logits, targets), []
    for name, scaled in (("before", logits), ("after", logits / temperature)):
        diagram = ReliabilityDiagram()
        diagram.update(scaled, targets)
        entropies.append(f"{name} {float(cross_entropy(scaled, targets)):.4f}")
        with never_fatal(f"calibration/{name}"):
            send_media(trainer, f"calibration/{name}", diagram.plot()[0], steps_so_far(trainer))
    _keep(path, "temperature", temperature)
    print(f"temperature {temperature:.4f}; cross-entropy of the validation {', '.join(entropies)}")


def fitted_temperature(logits: Tensor, targets: Tensor) -> float:
    """Return the divisor of the logits, shape (N, K), with the lowest cross-entropy for classes of shape (N,)."""
    logits = logits.double()
    result = minimize_scalar(lambda log_temperature: float(cross_entropy(logits / math.exp(log_temperature), targets)))
    return math.exp(result.x)


def fit_threshold(session: Any, path: str, goal: str) -> None:
    """Find the threshold that is best for a goal, such as f1 or precision=0.9, of two classes, each label or boxes."""
    module, trainer = session.model, session.trainer
    if not hasattr(type(module), "threshold"):
        got = f"a {type(module).__name__}, whose results use no threshold"
        raise UsageError(f"--threshold is for two classes, several labels or boxes; got {got}")
    scores, hits, targets = _validated(session, path, "--threshold", lambda *found: (*_scores(*found), found[1]))
    columns = zip(torch.cat(scores).T.numpy(), torch.cat(hits).T.numpy(), strict=True)
    curves, samples = [_curve(*pair) for pair in columns], f"{sum(map(len, targets))} validation samples"
    names = (module.class_names or ["0", "1"])[-len(curves) :] if isinstance(targets[0], Tensor) else ["boxes"]
    best = [_best(values, goal, f"{name} on {samples}") for name, values in zip(names, curves, strict=True)]
    for name, values, k in zip(names, curves, best, strict=True):
        here, half = ("F1 {:.4f}, precision {:.4f}, recall {:.4f}".format(*values[1:, i]) for i in (k, -1))
        print(f"threshold of {name}: {values[0, k]:.4g} by {goal}, {here}; at 0.5, {half}; {samples}")
    thresholds = [float(values[0, k]) for values, k in zip(curves, best, strict=True)]
    _keep(path, "threshold", thresholds if getattr(targets[0], "ndim", 1) == 2 else thresholds[0])
    for k, (name, values) in enumerate(zip(names[:12], curves, strict=False)):
        with never_fatal(f"threshold/{k}"):
            figure, axis = plt.subplots()
            axis.plot(values[0, :-1], values[1:, :-1].T, label=MEASURES)
            axis.axvline(thresholds[k], color="0.6", linestyle=":")
            axis.set(title=name, xlabel="threshold")
            axis.legend()
            send_media(trainer, f"threshold/{k}", figure, steps_so_far(trainer))


def fit_default_threshold(session: Any) -> None:
    """Find the threshold with the best F1 for the best checkpoint of a training, of which nothing else changes."""
    if session.trainer.world_size > 1:
        if session.trainer.is_global_zero:
            print("the best threshold is found in one process: validate --threshold f1 --trainer.devices 1")
        return
    try:
        fit_threshold(session, session.best_path, "f1")
    except (UsageError, OSError) as error:
        print(f"the threshold stays {session.model.threshold}: {str(error).removeprefix('--threshold ')}")


def _scores(predictions: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Return the scores of a batch, shape (N, K) for K labels, and which of them should be high."""
    if isinstance(predictions, list):
        parts = [_matched(*pair) for pair in zip(predictions, targets, strict=True)]
        return torch.cat([part[0] for part in parts])[:, None], torch.cat([part[1] for part in parts])[:, None]
    if targets.ndim == 1 and predictions.shape[1:] == (2,):
        return predictions.float().softmax(dim=1)[:, 1:], targets[:, None] == 1
    if targets.ndim != 2 or predictions.shape != targets.shape or ((predictions < 0) | (predictions > 1)).any():
        got = f"predictions of shape {tuple(predictions.shape)} and targets of shape {tuple(targets.shape)}"
        raise UsageError(f"--threshold takes logits of two classes, probabilities of labels, or boxes; got {got}")
    return predictions.float(), targets > 0.5


def _matched(found: dict[str, Tensor], target: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the scores of an image's boxes, and whether each is of an object of its own; 0 for one without a box.

    Both have the same class and an IoU of at least 0.5; boxes with greater scores come first.
    """
    scores, order = found["scores"].float().sort(descending=True)
    overlaps = box_iou(found["boxes"], target["boxes"])[order] * (found["labels"][order, None] == target["labels"])
    hits = torch.zeros(len(scores), dtype=torch.bool)
    for k, row in enumerate(overlaps if overlaps.numel() else ()):
        if row.max() >= 0.5:
            hits[k], overlaps[:, row.argmax()] = True, 0
    missed = torch.zeros(len(target["labels"]) - int(hits.sum()))
    return torch.cat([scores, missed]), torch.cat([hits, missed == 0])


def _curve(scores: Any, hits: Any) -> Any:
    """Return thresholds between scores, and last 0.5, with F1, precision and recall of each, shape (4, T)."""
    levels = np.unique(np.append(scores, 0).astype(float))
    gaps = np.diff(levels) > 1e-6 * levels[1:]  # closer ones are alike in float32
    thresholds = np.append((levels[1:] + levels[:-1])[gaps] / 2, 0.5)
    found, right = (len(part) - np.searchsorted(np.sort(part), thresholds, "right") for part in (scores, scores[hits]))
    total = hits.sum().clip(1)
    return np.stack([thresholds, 2 * right / (found + total), right / found.clip(1), right / total])


def _best(values: Any, goal: str, where: str) -> int:
    """Return which threshold reaches the goal, and has the most of what the goal leaves open."""
    measure, _, least = goal.partition("=")
    row, aim = {"f1": (1, 1), "precision": (2, 3), "recall": (3, 2)}[measure]
    order = np.lexsort((values[1], values[aim]))
    if not (enough := order[values[row, order] >= float(least or 1e-9)]).size:
        highest = f"the highest {measure} of {where} is {values[row].max():.4f}"
        raise UsageError(f"--threshold {goal} cannot be reached: {highest}; no threshold is kept")
    return int(enough[-1])


def _validated(session: Any, path: str, option: str, take: Callable[..., tuple[Any, ...]]) -> Any:
    """Validate, and return what `take` makes of predictions and targets of the first set's batches, part by part."""
    trainer, batches = session.trainer, []
    if trainer.world_size > 1:
        raise UsageError(f"{option} needs one process, got {trainer.world_size}; set --trainer.devices 1")
    if is_sharded(Path(path)):
        raise UsageError(f"{option} needs one file; make one of this sharded checkpoint: python train.py merge")

    def collect(trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        if dataloader_idx == 0 and isinstance(outputs, dict) and {"predictions", "targets"} <= outputs.keys():
            given = outputs["predictions"], outputs["targets"]
            batches.append(take(*apply_to_collection(given, Tensor, Tensor.cpu)))

    unlogged = replace(session, metrics={}, results={})
    loggers, trainer.loggers = trainer.loggers, []
    trainer.callbacks.append(LambdaCallback(on_validation_batch_end=collect))
    try:
        evaluate(unlogged, "validate", path)
    finally:
        trainer.callbacks.pop()
        trainer.loggers = loggers
    if not batches:
        raise UsageError(f"{option} needs validation samples, and their predictions and targets from validation_step")
    return zip(*batches, strict=True)


def _keep(path: str, name: str, value: Any) -> None:
    """Write what was fitted into the checkpoint, which is replaced in one step."""
    content = read_checkpoint(path)
    if name == "temperature" and content.pop("threshold", None) is not None:
        print("the threshold that was kept is discarded: it was that of the probabilities before")
    DurableCheckpointIO().save_checkpoint(content | {name: value}, path)
