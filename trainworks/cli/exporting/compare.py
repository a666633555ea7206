"""Whether an exported file says what the module says: its outputs, and the metrics of the validation split."""

import math
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from trainworks.cli.exporting.exported import Exported
from trainworks.cli.exporting.samples import Samples
from trainworks.datamodules.transforms.apply import apply_transforms
from trainworks.errors import RunFailure, UsageError, first_line

READ = {  # a file, in a process that finds nothing of this project
    ".onnx": """import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
run = lambda inputs: session.run(None, {"inputs": inputs})""",
    ".pt2": """import torch
program = torch.export.load(sys.argv[1]).module()
def run(inputs):
    outputs = program(torch.from_numpy(inputs))
    parts = [*outputs.values()] if isinstance(outputs, dict) else [outputs]
    return [(part.float() if part.dtype == torch.bfloat16 else part).detach().numpy() for part in parts]""",
}
RUN = "import sys, numpy\n{}\nfor path in sys.argv[2:]: numpy.savez(path + '.npz', *run(numpy.load(path)))\n"
BATCH = 64


def greatest_difference(exported: Exported, inputs: Tensor, path: Path) -> float:
    """Return how far a file's outputs in a fresh process are from the module's at most, for many inputs and for one.

    Of outputs above 1 it is a share of the greatest one. Boxes are told by the corners in pixels, in any order; it is
    infinite where one is lacking.
    """
    batches, gaps = {"many.npy": inputs, "one.npy": inputs[:1]}, [0.0]
    with tempfile.TemporaryDirectory() as folder:
        for name, batch in batches.items():
            np.save(Path(folder, name), batch.numpy())
        command = [sys.executable, "-I", "-c", RUN.format(READ[path.suffix]), str(path.absolute()), *batches]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            reason = done.stderr.strip().rpartition("\n")[2][:300] or f"exit code {done.returncode}"
            raise RunFailure(f"{path.name} cannot be run: {reason}")
        for name, batch in batches.items():
            with torch.inference_mode(), np.load(Path(folder, f"{name}.npz")) as arrays:
                expected = exported(batch)
                parts = [torch.from_numpy(arrays[key]) for key in arrays.files]
                gaps.append(difference(like(expected, parts), expected, exported.threshold))
    return max(gaps)


def like(expected: Any, parts: list[Tensor]) -> Any:
    """Return outputs in the form of others: one tensor, or some by name."""
    return dict(zip(expected, parts, strict=True)) if isinstance(expected, Mapping) else parts[0]


def difference(found: Any, expected: Any, threshold: float = 0.0) -> float:
    """Return how far outputs are apart, as `greatest_difference` tells it."""
    if isinstance(expected, Mapping):
        if "boxes" in expected:
            pairs = zip(detections_of(found), detections_of(expected), strict=True)
            both = (pair for one, other in pairs for pair in ((one, other), (other, one)))
            return max((gap for pair in both for gap in box_gaps(*pair, threshold)), default=0.0)
        return max(difference(found[name], expected[name]) for name in expected)
    if found.shape != expected.shape:
        return math.inf
    gap = (found.double() - expected.double()).abs().max() / expected.double().abs().max().clamp(min=1)
    return float(gap.nan_to_num(math.inf))


def detections_of(outputs: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the boxes of each image, as detectors do, of tensors that are filled up with 0."""
    counts = outputs["count"].tolist()
    return [{key: outputs[key][k, :count] for key in ("boxes", "labels", "scores")} for k, count in enumerate(counts)]


def box_gaps(found: Mapping[str, Any], expected: Mapping[str, Any], threshold: float) -> list[float]:
    """Return for each expected box how far the corners of the nearest one of its class are, in pixels at most.

    It is infinite without such a box. One whose score is hardly more than the threshold may be lacking.
    """
    gaps = []
    for box, label, score in zip(expected["boxes"], expected["labels"], expected["scores"], strict=True):
        same = torch.tensor([bool(other == label) for other in found["labels"]], dtype=torch.bool)
        corners = found["boxes"][same]
        gap = float((corners - box).abs().amax(dim=1).min()) if len(corners) else math.inf
        if gap <= 0.5 or score > threshold + 0.01:
            gaps.append(gap)
    return gaps


def loaded(path: Path, example: Any) -> Callable[[Tensor], Any]:
    """Return the function that a file holds; `example` is an output."""
    if path.suffix == ".pt2":
        with warnings.catch_warnings(action="ignore"):  # of how torch 2.11 itself reads
            return torch.export.load(path).module()
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda batch: like(
        example, [torch.from_numpy(part) for part in session.run(None, {"inputs": batch.numpy()})]
    )


class ValidationMetrics:
    """The metrics of the validation split, of a module's outputs and of a file's; targets are those of its `step`."""

    def __init__(self, exported: Exported, samples: Samples, tolerance: float | None) -> None:
        self.exported, self.samples, self.tolerance = exported, samples, tolerance
        module = exported.module
        if not hasattr(module, "val_metrics") or not len(module.val_metrics):
            raise UsageError(f"{type(module).__name__} is no BaseModule with metrics, by which files could be compared")
        if "val" not in samples.splits:
            raise UsageError(f"metrics need validation samples; there are only {samples.what}")
        self.num_samples = len(samples.splits["val"])
        self.expected = self.of(exported)

    @torch.inference_mode()
    def of(self, run: Callable[[Tensor], Any]) -> dict[str, float]:
        """Return the metrics of what a function returns for the inputs."""
        module, data, split = self.exported.module, self.samples.data, self.samples.splits["val"]
        metrics, names = module.val_metrics.clone(), module.logged_names("val")
        metrics.reset()
        try:
            for start in range(0, len(split), BATCH):
                items = [split[index] for index in range(start, min(start + BATCH, len(split)))]
                inputs, targets = (list(part) for part in zip(*items, strict=True))
                joined = data.join(inputs).as_subclass(Tensor)
                goals = targets if isinstance(targets[0], Mapping) else default_collate(targets)
                _, predictions, goals = module.step(apply_transforms(data.eval_transform, (joined, goals)))
                metrics.update(_as_predictions(run(joined), predictions), goals)
            found = metrics.compute()
        except (ValueError, TypeError, RuntimeError) as error:
            what = f"metrics cannot be computed from the outputs of {type(module).__name__}"
            raise UsageError(f"{what}: {first_line(error)}") from error
        return {name: float(found[name]) for name in names if name in found and found[name].numel() == 1}

    def check(self, found: dict[str, float], precision: str) -> None:
        """Refuse metrics that are further from the module's than the tolerance, or than two samples can be."""
        typed = (0.002 if precision == "float32" else 0.01) if self.tolerance is None else self.tolerance
        limit = max(typed, 2 / self.num_samples)
        for name, value in self.expected.items():
            if not abs(found[name] - value) <= limit * max(1.0, abs(value)):
                raise RunFailure(f"{name} is {found[name]:.4f}, and {value:.4f} of the module; tolerance {limit:.4g}")


def _as_predictions(outputs: Any, predictions: Any) -> Any:
    """Return a file's outputs in the form of what a module's `step` gives its metrics."""
    if isinstance(outputs, Mapping):
        if "boxes" not in outputs:
            raise UsageError(f"the file returns {', '.join(outputs)}")
        return detections_of(outputs)
    return outputs.reshape(predictions.shape) if outputs.numel() == predictions.numel() else outputs
