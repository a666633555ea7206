"""The base of every module, and what is done with networks, predictions and results."""

from typing import TYPE_CHECKING

from trainworks.lazy import hand_out

if TYPE_CHECKING:
    from trainworks.models.base import BaseModule as BaseModule
    from trainworks.models.changes import Init as Init
    from trainworks.models.changes import initialized as initialized
    from trainworks.models.changes import parametrized as parametrized
    from trainworks.models.changes import with_channels as with_channels
    from trainworks.models.predict import load_model as load_model

__getattr__, __dir__, __all__ = hand_out(__name__, __file__)
