from src.datamodules.arrays import ArrayDataModule
from src.datamodules.base import BaseDataModule
from src.datamodules.diabetes import DiabetesDataModule
from src.datamodules.digit_pairs import DigitPairsDataModule
from src.datamodules.digit_scenes import DigitScenesDataModule
from src.datamodules.digits import DigitsDataModule
from src.datamodules.image_folder import ImageFolderDataModule
from src.datamodules.text import TextDataModule
from src.datamodules.vision import VisionDataModule

__all__ = [
    "ArrayDataModule",
    "BaseDataModule",
    "DiabetesDataModule",
    "DigitPairsDataModule",
    "DigitScenesDataModule",
    "DigitsDataModule",
    "ImageFolderDataModule",
    "TextDataModule",
    "VisionDataModule",
]
