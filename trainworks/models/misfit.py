import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchmetrics.classification
from lightning.pytorch.utilities.memory import is_oom_error
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from trainworks.errors import UsageError, first_line
from trainworks.root import LIBRARY

SHAPE_ERRORS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError)  # which torch raises for a misfit


def metric_error(metrics: MetricCollection, given: Any, error: Exception, probe: Callable[[Metric], Any]) -> Exception:
    """Return an error that names the metric that could not take a batch, what it got, and what to write instead.

    `given` are predictions and targets, or tensors of their shapes; `probe` fails for the metric in question alone. If
    it fails for none, `error` itself is returned.
    """
    if is_oom_error(error):
        return error
    for name, metric in metrics.items(keep_base=True):
        try:
            probe(metric)
        except Exception:
            kind, (predictions, targets) = type(metric).__name__, given or (None, None)
            got = f"predictions of {shape_of(predictions)} and targets of {shape_of(targets)}"
            advice = _advice(kind, predictions, targets)
            return UsageError(f"model.metrics.{name}: {kind} cannot take {got}{advice} ({first_line(error)})")
    return error


def refused_by(module: nn.Module, error: BaseException) -> str | None:
    """Say which layer or loss of a module could not take its inputs; None if the error was not raised by a library."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    raised_in = Path(frames[-1].f_code.co_filename)
    of_library = "site-packages" in raised_in.parts and not raised_in.is_relative_to(LIBRARY)
    of_device = is_oom_error(error) or any(word in str(error) for word in ("CUDA", "cuDNN", "CUBLAS"))
    if not of_library or type(error) not in SHAPE_ERRORS or of_device:
        return None
    names = {id(part): name for name, part in module.named_modules() if name}
    calls = [frame.f_locals for frame in frames if frame.f_code.co_name == "_call_impl"]
    found = [call for call in calls if id(call["self"]) in names]
    if not found:
        return None
    layer, given = found[-1]["self"], found[-1]["args"]
    got = " and ".join(shape_of(item) for item in given)
    message, advice = str(error).strip().partition("\n")[0][:300].rstrip("."), ""
    if any(getattr(item, "dtype", None) in (torch.uint8, torch.float64) for item in given[:1]):
        how = "torchvision.transforms.v2.ToDtype, dtype torch.float32 and, for uint8, scale true"
        advice = f"; begin data.train_transform and data.eval_transform with {how}"
    elif "out of bounds" in message and len(given) == 2:
        advice = f"; for {given[0].shape[1]} outputs labels go from 0 to {given[0].shape[1] - 1}: look at num_classes"
    return f"model.{names[id(layer)]}: {type(layer).__name__} cannot take {got}: {message}{advice}"


def shape_of(x: Any) -> str:
    """Return type of numbers and shape of an array for a message, or the type of anything else."""
    return f"{x.dtype} {tuple(x.shape)}".removeprefix("torch.") if hasattr(x, "dtype") else type(x).__name__


def _advice(kind: str, predictions: Any, targets: Any) -> str:
    """Return advice: the metric of the same kind for the task that the shapes suggest, or an empty string."""
    task = next((name for name in ("Binary", "Multiclass", "Multilabel") if kind.startswith(name)), None)
    if task is None or not isinstance(predictions, Tensor) or not isinstance(targets, Tensor):
        return ""
    fitting = "Multiclass" if predictions.ndim > targets.ndim else "Multilabel" if targets.ndim > 1 else "Binary"
    other = fitting + kind.removeprefix(task)
    number = {"Multiclass": "num_classes", "Multilabel": "num_labels"}.get(fitting)
    if fitting == task or not hasattr(torchmetrics.classification, other):
        return ""
    return f"; take torchmetrics.classification.{other}" + (f", {number} {predictions.shape[1]}" if number else "")
