"""Transforms of whole batches, beside those of torchvision.transforms.v2."""

from typing import TYPE_CHECKING

from trainworks.lazy import hand_out

if TYPE_CHECKING:
    from trainworks.datamodules.transforms.collate import KeepLists as KeepLists
    from trainworks.datamodules.transforms.collate import PadSequences as PadSequences
    from trainworks.datamodules.transforms.per_image import RandomShift as RandomShift
    from trainworks.datamodules.transforms.per_sample import PerSample as PerSample
    from trainworks.datamodules.transforms.views import Cutout as Cutout
    from trainworks.datamodules.transforms.views import RandomCrop as RandomCrop
    from trainworks.datamodules.transforms.views import RandomFlip as RandomFlip
    from trainworks.datamodules.transforms.views import RandomResizedCrop as RandomResizedCrop

__getattr__, __dir__, __all__ = hand_out(__name__, __file__)
