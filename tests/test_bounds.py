"""The lowest and highest values that a description allows are allowed; what lies beyond is refused elsewhere."""

from pydoc import locate
from typing import Any

import pytest
import yaml

from trainworks.testing import ROOT

BOUNDS = yaml.safe_load("""
callbacks/training_images.TrainingImages: {num_images: 1}
callbacks/samples.SampleImages: {num_images: 1, every_n_epochs: 1}
callbacks/samples.SampleTexts: {prompt: a, num_bytes: 1, temperature: 0.001, top_k: 1, every_n_epochs: 1}
datamodules/digits.DigitsDataModule:
  {batch_size: 1, num_workers: 0, num_classes: 1, val_fraction: 0.0, test_fraction: 0.0, num_folds: 2, fold: 1}
datamodules/digit_pairs.DigitPairsDataModule:
  {batch_size: 1, num_workers: 0, num_classes: 1, val_fraction: 0.0, test_fraction: 0.0, pairs_per_digit: 1}
datamodules/text.TextDataModule: {length: 1, stride: 1}
datamodules/digit_scenes.DigitScenesDataModule:
  {targets: masks, image_size: 30, max_digits: 1, num_train: 1, num_val: 1, num_test: 1}
models/networks/mlp.MLP: {in_features: 1, num_classes: 1, hidden: [1]}
models/networks/small_cnn.SmallCNN: {in_channels: 1, num_classes: 1, layers: [1], pool_size: 1}
models/networks/small_decoder.SmallDecoder: {in_features: 1, out_channels: 1, layers: [1], start_size: 1}
models/networks/small_pyramid.SmallPyramid: {in_channels: 1, widths: [1, 1], out_channels: 1}
models/networks/unet.UNet: {in_channels: 1, num_classes: 1, widths: [1]}
models/networks/gpt.GPT: {vocab_size: 1, max_length: 1, width: 1, num_layers: 1, num_heads: 1}
models/losses/elbo.NegativeElbo: {beta: 0.0}
""")


@pytest.mark.parametrize("path", [path for path in BOUNDS if (ROOT / f"src/{path.split('.')[0]}.py").exists()])
def test_the_bounds_themselves_are_allowed(path: str) -> None:
    kind: Any = locate(f"src/{path}".replace("/", "."))
    assert isinstance(kind(**BOUNDS[path]), kind)
