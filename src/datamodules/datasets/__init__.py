from src.datamodules.datasets.array import ArrayDataset
from src.datamodules.datasets.boxes import BoxDataset
from src.datamodules.datasets.image_files import ImageFiles
from src.datamodules.datasets.images import ImageDataset, ImageFormat
from src.datamodules.datasets.keyed import KeyedDataset

__all__ = ["ArrayDataset", "BoxDataset", "ImageDataset", "ImageFiles", "ImageFormat", "KeyedDataset"]
