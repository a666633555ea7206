"""A small problem that is trained through the real entry point."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from trainworks.tests.conftest import Result, Train

STEPS = 12
CONFIG = """
model:
  class_path: trainworks.tests.examples.classifier.ClassifierModule
  init_args:
    net: {class_path: trainworks.tests.reach.problem.Net}
    loss: torch.nn.CrossEntropyLoss
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1}}
    train_metrics: false
data:
  class_path: trainworks.datamodules.ArrayDataModule
  init_args: {train: train.npz, val: train.npz, batch_size: 48}
callbacks:
  record: trainworks.tests.reach.problem.Record
  best: null
  last: null
  progress: null
trainer: {logger: false, limit_val_batches: 0, accelerator: cpu}
"""


@pytest.fixture
def fit(train: Train, tmp_path: Path) -> Callable[..., Result]:
    """Train with arguments of the model laid over CONFIG; returns what was printed."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(48, 6)).astype(np.float32)
    arrays = {"inputs": inputs, "targets": (inputs @ random.normal(size=(6, 3))).argmax(1)}

    def run(model: dict[str, Any], *words: str, command: str = "fit", **changed: np.ndarray) -> Result:
        np.savez(tmp_path / "train.npz", **(arrays | changed))
        (tmp_path / "base.yaml").write_text(CONFIG)
        (tmp_path / "case.yaml").write_text(yaml.safe_dump({"model": {"init_args": model}}))
        files = ("--config", "base.yaml", "--config", "case.yaml")
        return train(*([command] if command else []), *files, "--trainer.max_epochs", str(STEPS), *words)

    return run
