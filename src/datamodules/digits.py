import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from src.datamodules.base import BaseDataModule, check_labels, split_off
from src.datamodules.datasets import ArrayDataset

TEST_FRACTION = 0.2
TEST_SEED = 0  # fixed: whatever the seeds of a run, nothing is ever trained or tuned on these samples


class DigitsDataModule(BaseDataModule):
    """Scikit-learn's 1,797 handwritten digits, grey, 8x8 pixels, in 10 classes; a fixed fifth of them is the test set.

    Source: https://archive.ics.uci.edu/dataset/80 (the copy inside scikit-learn, nothing is downloaded).

    Args:
        num_classes: Number of classes, stated here for the whole configuration.
        val_fraction: Share of the training samples that validates, in [0, 1), stratified by class.
        split_seed: Seed of the choice of validation samples.
        batch_size: Samples in one step, over all devices together.
        num_workers: Processes that load data; none are needed here.
        train_transform: Applied in order to each training batch (images, targets), on the device.
        eval_transform: The same for validation, test and prediction.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        num_classes: int = 10,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        batch_size: int = 64,
        num_workers: int | None = None,
        train_transform: list[nn.Module] | None = None,
        eval_transform: list[nn.Module] | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, train_transform, eval_transform)
        self.num_classes, self.val_fraction, self.split_seed = num_classes, val_fraction, split_seed

    def load_splits(self) -> dict[str, ArrayDataset]:  # type: ignore[override]
        """Read the digits, values 0 to 16, as images of uint8."""
        data, target = load_digits(return_X_y=True)
        images = torch.from_numpy(np.round(data * (255 / 16)).astype(np.uint8)).reshape(-1, 1, 8, 8)
        whole = ArrayDataset(images, torch.from_numpy(target))
        check_labels(whole.targets, self.num_classes)
        rest, test = split_off(target, TEST_FRACTION, TEST_SEED)
        train, val = split_off(target[rest], self.val_fraction, self.split_seed)
        return {"train": whole.subset(rest[train]), "val": whole.subset(rest[val]), "test": whole.subset(test)}
