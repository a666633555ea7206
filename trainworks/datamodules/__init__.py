"""Datamodules: their base, and those for folders, tables and arrays."""

from typing import TYPE_CHECKING

from trainworks.lazy import hand_out

if TYPE_CHECKING:
    from trainworks.datamodules.arrays import ArrayDataModule as ArrayDataModule
    from trainworks.datamodules.base import BaseDataModule as BaseDataModule
    from trainworks.datamodules.box_files import BoxFilesDataModule as BoxFilesDataModule
    from trainworks.datamodules.image_folder import ImageFolderDataModule as ImageFolderDataModule
    from trainworks.datamodules.mask_folder import MaskFolderDataModule as MaskFolderDataModule
    from trainworks.datamodules.vision import VisionDataModule as VisionDataModule

__getattr__, __dir__, __all__ = hand_out(__name__, __file__)
