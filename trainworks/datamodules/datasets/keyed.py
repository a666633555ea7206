from typing import Any

import numpy as np
from torch.utils.data import Dataset

from trainworks.datamodules.randomness import kept_generators, seed_sample


class KeyedDataset(Dataset[Any]):
    """Serves another dataset by key, epoch * length + index, so that random transforms draw from both.

    A dataset that serves whole batches gets its batch of indices. Of any other each sample is read by itself, with all
    generators seeded from (seed, epoch, index) before.

    Args:
        dataset: Any dataset with a length; one that serves whole batches returns no list from `__getitems__`.
        seed: Seed of the run.
    """

    def __init__(self, dataset: Dataset[Any], seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self._length: int = len(dataset)  # type: ignore[arg-type]
        self._serves_batches = getattr(dataset, "serves_batches", False)

    def __len__(self) -> int:
        return self._length

    def __getitems__(self, keys: np.ndarray | list[int]) -> Any:
        """Return the batch itself, or a list of samples."""
        epochs, indices = np.divmod(keys, self._length)
        if self._serves_batches:
            return self.dataset.__getitems__(indices)  # type: ignore[attr-defined]
        samples = []
        with kept_generators():
            for epoch, index in zip(epochs.tolist(), indices.tolist(), strict=True):
                seed_sample(self.seed, epoch, index)
                samples.append(self.dataset[index])
        return samples
