"""Datasets that serve whole batches from memory, or decode images."""

from typing import TYPE_CHECKING

from trainworks.lazy import hand_out

if TYPE_CHECKING:
    from trainworks.datamodules.datasets.array_dataset import ArrayDataset as ArrayDataset
    from trainworks.datamodules.datasets.image_dataset import ImageDataset as ImageDataset
    from trainworks.datamodules.datasets.image_dataset import ImageFiles as ImageFiles
    from trainworks.datamodules.datasets.image_format import ImageFormat as ImageFormat
    from trainworks.datamodules.randomness import KeyedDataset as KeyedDataset

__getattr__, __dir__, __all__ = hand_out(__name__, __file__)
