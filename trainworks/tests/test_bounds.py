"""The lowest and highest values that a description allows are allowed; what lies beyond is refused elsewhere."""

from typing import Any

import pytest
import torch
from torch import nn

from trainworks.runs.class_paths import import_path

FIRST = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
DATA: dict[str, Any] = {"batch_size": 1, "num_workers": 0, "num_classes": 1, "val_fraction": 0.0, "test_fraction": 0.0}
BOUNDS: list[tuple[str, dict[str, Any]]] = [
    ("callbacks.TrainingImages", {"num_images": 1}),
    ("callbacks.Trace", {"wait": 1, "num_steps": 1}),
    ("callbacks.Overfit", {"num_steps": 1}),
    ("callbacks.EvaluationFigures", {"every_n_minutes": 0.001, "num_mistakes": 0}),
    ("callbacks.LastCheckpoint", {"every_n_epochs": 0, "every_n_steps": 1, "every_n_minutes": 0.001, "num_older": 0}),
    ("callbacks.ProgressPrinter", {"refresh_seconds": 0.001, "line_seconds": 0.001}),
    ("callbacks.SampleImages", {"num_images": 1, "every_n_epochs": 1}),
    ("callbacks.SampleTexts", {"prompt": "a", "num_bytes": 1, "temperature": 0.001, "top_k": 1, "every_n_epochs": 1}),
    ("callbacks.WeightAverage", {"decay": 0.0, "start": 0.0, "every_n_steps": 1}),
    ("callbacks.freeze.FreezeRule", {"pattern": "a", "until_epoch": 1}),
    ("callbacks.freeze.FreezeRule", {"pattern": "a", "until_step": 1}),
    ("datamodules.DigitsDataModule", {**DATA, "num_folds": 2, "fold": 1}),
    ("datamodules.DigitPairsDataModule", {**DATA, "pairs_per_digit": 1}),
    ("datamodules.TextDataModule", {"length": 1, "stride": 1}),
    ("datamodules.ImageFolderDataModule", {"root": ".", "image_size": 1, "cache_limit_gb": 0.0}),
    (
        "datamodules.DigitScenesDataModule",
        {"targets": "masks", "image_size": 30, "max_digits": 1, "num_train": 1, "num_val": 1, "num_test": 1},
    ),
    ("datamodules.transforms.RandomFlip", {"p": 0.0}),
    ("datamodules.transforms.RandomFlip", {"p": 1.0}),
    ("datamodules.transforms.RandomCrop", {"size": 1}),
    ("datamodules.transforms.RandomShift", {"pixels": 1}),
    ("datamodules.transforms.Cutout", {"size": 1}),
    ("datamodules.transforms.RandomResizedCrop", {"size": 1, "scale": (1.0, 1.0), "ratio": (0.5, 0.5)}),
    ("models.networks.MLP", {"in_features": 1, "num_classes": 1, "hidden": [1]}),
    ("models.networks.SmallCNN", {"in_channels": 1, "num_classes": 1, "layers": [1], "pool_size": 1}),
    ("models.networks.SmallDecoder", {"in_features": 1, "out_channels": 1, "layers": [1], "start_size": 1}),
    ("models.networks.SmallPyramid", {"in_channels": 1, "widths": [1, 1], "out_channels": 1}),
    ("models.networks.UNet", {"in_channels": 1, "num_classes": 1, "widths": [1]}),
    ("models.networks.GPT", {"vocab_size": 1, "max_length": 1, "width": 1, "num_layers": 1, "num_heads": 1}),
    ("models.networks.VAE", {"encoder": nn.Identity(), "decoder": nn.Identity(), "num_latents": 1, "num_levels": 2}),
    ("models.networks.VAE", {"encoder": nn.Identity(), "decoder": nn.Identity(), "num_latents": 1, "num_levels": 256}),
    ("models.losses.NegativeElbo", {"beta": 0.0}),
    ("models.metrics.ReliabilityDiagram", {"num_bins": 2}),
    ("optim.Parameters", {"module": nn.Linear(1, 1), "layer_decay": 1.0}),
    ("optim.WarmupCosine", {"optimizer": FIRST, "total_steps": 1, "warmup": 0.0, "final": 0.0}),
    ("optim.WarmupCosine", {"optimizer": FIRST, "total_steps": 1, "final": 1.0}),
]


@pytest.mark.parametrize(("path", "arguments"), BOUNDS, ids=[path for path, _ in BOUNDS])
def test_the_bounds_themselves_are_allowed(path: str, arguments: dict[str, Any]) -> None:
    kind = import_path(f"src.{path}")
    if kind is None:
        pytest.skip(f"src.{path} was deleted")
    assert isinstance(kind(**arguments), kind)
