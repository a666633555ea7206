"""The lowest and highest values that a description allows are allowed; what lies beyond is refused elsewhere."""

from typing import Any

import pytest
import torch
from torch import nn

from trainworks.runs.class_paths import import_path

FIRST = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
DATA: dict[str, Any] = {"batch_size": 1, "num_workers": 0, "num_classes": 1, "val_fraction": 0.0, "test_fraction": 0.0}
BOUNDS: list[tuple[str, dict[str, Any]]] = [
    ("callbacks.Trace", {"wait": 1, "num_steps": 1}),
    ("callbacks.Overfit", {"num_steps": 1}),
    ("callbacks.EvaluationFigures", {"every_n_minutes": 0.001, "num_mistakes": 0}),
    ("callbacks.LastCheckpoint", {"every_n_epochs": 0, "every_n_steps": 1, "every_n_minutes": 0.001, "num_older": 0}),
    ("callbacks.ProgressPrinter", {"refresh_seconds": 0.001, "line_seconds": 0.001}),
    ("callbacks.WeightAverage", {"decay": 0.0, "start": 0.0, "every_n_steps": 1}),
    ("callbacks.freeze.FreezeRule", {"pattern": "a", "until_epoch": 1}),
    ("callbacks.freeze.FreezeRule", {"pattern": "a", "until_step": 1}),
    ("tests.examples.digits.DigitsDataModule", {**DATA, "num_folds": 2, "fold": 1}),
    ("datamodules.ImageFolderDataModule", {"root": ".", "image_size": 1, "cache_limit_gb": 0.0}),
    ("datamodules.transforms.RandomFlip", {"p": 0.0}),
    ("datamodules.transforms.RandomFlip", {"p": 1.0}),
    ("datamodules.transforms.RandomCrop", {"size": 1}),
    ("datamodules.transforms.RandomShift", {"pixels": 1}),
    ("datamodules.transforms.Cutout", {"size": 1}),
    ("datamodules.transforms.RandomResizedCrop", {"size": 1, "scale": (1.0, 1.0), "ratio": (0.5, 0.5)}),
    ("models.metrics.ReliabilityDiagram", {"num_bins": 2}),
    ("optim.Parameters", {"module": nn.Linear(1, 1), "layer_decay": 1.0}),
    ("optim.WarmupCosine", {"optimizer": FIRST, "total_steps": 1, "warmup": 0.0, "final": 0.0}),
    ("optim.WarmupCosine", {"optimizer": FIRST, "total_steps": 1, "final": 1.0}),
]


@pytest.mark.parametrize(("path", "arguments"), BOUNDS, ids=[path for path, _ in BOUNDS])
def test_the_bounds_themselves_are_allowed(path: str, arguments: dict[str, Any]) -> None:
    kind = import_path(f"trainworks.{path}")
    assert isinstance(kind(**arguments), kind)
