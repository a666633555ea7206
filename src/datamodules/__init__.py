"""Yours: one datamodule a file. datasets/, transforms/ hold its parts."""

from src import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    arrays="ArrayDataModule",
    base="BaseDataModule",
    diabetes="DiabetesDataModule",
    digit_pairs="DigitPairsDataModule",
    digit_scenes="DigitScenesDataModule",
    digits="DigitsDataModule",
    image_folder="ImageFolderDataModule",
    text="TextDataModule",
    vision="VisionDataModule",
)
