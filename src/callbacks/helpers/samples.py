from typing import Any, ClassVar

from lightning.pytorch import Callback, LightningModule, Trainer

from src.errors import UsageError


class Samples(Callback):
    """What callbacks share that show what a module makes: after a test, and now and then after a validation.

    A subclass writes `send` and names the methods that the module must have.
    """

    needed: ClassVar[tuple[str, ...]]
    example: ClassVar[str]

    def __init__(self, every_n_epochs: int) -> None:
        self.every_n_epochs = every_n_epochs

    def send(self, trainer: Trainer, module: Any, stage: str) -> None:
        """Send samples to the loggers; all ranks make them, since the network may be spread over them."""
        raise NotImplementedError(f"{type(self).__name__} must define send(trainer, module, stage)")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look whether the module can do it."""
        if not all(hasattr(pl_module, name) for name in self.needed):
            missing = " and ".join(f"{name}()" for name in self.needed)
            raise UsageError(f"{type(self).__name__}: {type(pl_module).__name__} has no {missing}; take {self.example}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show samples now and then."""
        training = trainer.state.fn == "fit" and not trainer.sanity_checking
        if training and trainer.loggers and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self.send(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show samples."""
        if trainer.loggers:
            self.send(trainer, pl_module, "test")
