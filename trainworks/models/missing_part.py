from torch import nn

from trainworks.errors import UsageError


class MissingPart(UsageError, AttributeError):
    """A part of a module that was left out and is used; an AttributeError too, so that `hasattr` is False."""

    def __init__(self, module: nn.Module, part: str) -> None:
        super().__init__(f"model.{part} must be set, since {type(module).__name__} uses it; write a class_path")
