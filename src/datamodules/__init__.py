from src.datamodules.arrays import ArrayDataModule
from src.datamodules.base import BaseDataModule
from src.datamodules.digits import DigitsDataModule
from src.datamodules.image_folder import ImageFolderDataModule
from src.datamodules.text import TextDataModule
from src.datamodules.vision import VisionDataModule

__all__ = [
    "ArrayDataModule",
    "BaseDataModule",
    "DigitsDataModule",
    "ImageFolderDataModule",
    "TextDataModule",
    "VisionDataModule",
]
