from dataclasses import dataclass

import numpy as np
import torch

from trainworks import ArrayDataset, BaseDataModule


@dataclass(kw_only=True, eq=False, repr=False)
class DigitsDataModule(BaseDataModule):
    """Scikit-learn's 1,797 handwritten digits, grey, 8x8 pixels, in 10 classes; a fixed fifth of them is the test set.

    Source: https://archive.ics.uci.edu/dataset/80 (the copy inside scikit-learn, nothing is downloaded).
    """

    test_fraction: float = 0.2

    def load_splits(self) -> dict[str, ArrayDataset]:  # type: ignore[override]
        """Read the digits, values 0 to 16, as images of uint8."""
        from sklearn.datasets import load_digits  # takes a while to import, and all datamodules are imported together

        data, target = load_digits(return_X_y=True)
        images = torch.from_numpy(np.round(data * (255 / 16)).astype(np.uint8)).reshape(-1, 1, 8, 8)
        return {"all": ArrayDataset(images, torch.from_numpy(target))}
