from dataclasses import dataclass
from typing import Any

from src.datamodules.base import BaseDataModule


@dataclass(kw_only=True, eq=False, repr=False)
class TabularDataModule(BaseDataModule):
    """What datamodules of numbers share: facts that networks need, read from the training samples if left out.

    Args:
        num_features: Numbers in one sample's inputs.
        num_targets: Numbers in one sample's targets.
        target_mean: Mean of each target, for targets that are values.
        target_std: Standard deviation of each; 1 for a target that never changes.
    """

    num_features: int | None = None
    num_targets: int | None = None
    target_mean: list[float] | None = None
    target_std: list[float] | None = None

    def facts_of(self, train: Any) -> dict[str, Any]:
        """Return what may be left out."""
        targets = train.targets.reshape(len(train), -1)
        found = {"num_features": train[0][0].numel(), "num_targets": targets.shape[1]}
        if targets.is_floating_point():
            std = targets.double().std(dim=0, correction=0)
            found |= {"target_mean": targets.double().mean(dim=0).tolist()}
            found |= {"target_std": std.where(std > 0, 1.0).tolist()}
        return super().facts_of(train) | found
