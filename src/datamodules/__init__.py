from src.datamodules.base import BaseDataModule
from src.datamodules.digits import DigitsDataModule
from src.datamodules.vision import VisionDataModule

__all__ = ["BaseDataModule", "DigitsDataModule", "VisionDataModule"]
