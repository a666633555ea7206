from dataclasses import dataclass

import torch

from trainworks import ArrayDataset, TabularDataModule


@dataclass(kw_only=True, eq=False, repr=False)
class DiabetesDataModule(TabularDataModule):
    """Scikit-learn's 442 patients: ten measurements, and how far diabetes went a year later, from 25 to 346.

    A fixed fifth of them is the test set. Source: https://www4.stat.ncsu.edu/~boos/var.select/diabetes.html (the copy
    inside scikit-learn, nothing is downloaded).
    """

    test_fraction: float = 0.2

    def load_splits(self) -> dict[str, ArrayDataset]:  # type: ignore[override]
        """Read the measurements in their own units: age, sex, body mass index, blood pressure, six of serum."""
        from sklearn.datasets import load_diabetes  # see DigitsDataModule

        inputs, targets = load_diabetes(return_X_y=True, scaled=False)
        return {"all": ArrayDataset(torch.from_numpy(inputs).float(), torch.from_numpy(targets).float())}
