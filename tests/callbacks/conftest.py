from pathlib import Path

import numpy as np
import pytest

CONFIG = """
model:
  class_path: tests.callbacks.plain.Plain
  init_args:  # this network draws random numbers
    net: {class_path: torchvision.ops.MLP, init_args: {in_channels: 64, hidden_channels: [16, 64], dropout: 0.5}}
    loss: torch.nn.MSELoss
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1}}
data:
  class_path: trainworks.datamodules.ArrayDataModule
  init_args: {train: a.npz, batch_size: 64}
trainer: {max_epochs: 2, log_every_n_steps: 1}
"""


@pytest.fixture(autouse=True)
def config(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (160, 1, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", inputs=images, targets=np.arange(160))
    (tmp_path / "plain.yaml").write_text(CONFIG)
    return tmp_path / "plain.yaml"
