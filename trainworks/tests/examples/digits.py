from dataclasses import dataclass

import numpy as np
import torch

from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.datasets.array_dataset import ArrayDataset


@dataclass(kw_only=True, eq=False, repr=False)
class DigitsDataModule(BaseDataModule):
    """Scikit-learn's handwritten digits, grey, 8x8 pixels, in 10 classes; a fixed fifth of them is the test set."""

    test_fraction: float = 0.2

    def load_splits(self) -> dict[str, ArrayDataset]:  # type: ignore[override]
        from sklearn.datasets import load_digits

        data, target = load_digits(return_X_y=True)
        images = torch.from_numpy(np.round(data * (255 / 16)).astype(np.uint8)).reshape(-1, 1, 8, 8)
        return {"all": ArrayDataset(images, torch.from_numpy(target))}
