from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.utils import make_grid

from src.callbacks.media import send_image
from src.config import UsageError


class SampleImages(Callback):
    """Show images that a generative model makes, and some of the data beside what it makes of them.

    The module has the methods `sample` and `reconstruct`, as VAEModule. Both come after validation and test; the random
    numbers are the same each time and are not taken from training's.

    Args:
        num_images: Images shown of each kind, at least 1.
        every_n_epochs: Show them after the validation of every so many epochs, at least 1.

    Raises:
        ValueError: If a number is out of range.
        UsageError: If the module makes no images.
    """

    def __init__(self, num_images: int = 64, every_n_epochs: int = 1) -> None:
        if min(num_images, every_n_epochs) < 1:
            raise ValueError(
                f"SampleImages: num_images and every_n_epochs must be at least 1, got {num_images}, {every_n_epochs}"
            )
        self.num_images, self.every_n_epochs = num_images, every_n_epochs
        self._images: Tensor | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look whether the module can do it."""
        if not hasattr(pl_module, "sample") or not hasattr(pl_module, "reconstruct"):
            raise UsageError(
                f"SampleImages: {type(pl_module).__name__} has no sample() and reconstruct(); take VAEModule"
            )

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep images of the first batch."""
        if batch_idx == 0:
            self._images = (batch[0] if isinstance(batch, tuple | list) else batch)[: self.num_images]

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show images now and then."""
        training = trainer.state.fn == "fit" and not trainer.sanity_checking
        if training and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._send(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show images."""
        self._send(trainer, pl_module, "test")

    def _send(self, trainer: Trainer, module: Any, stage: str) -> None:
        """Make them on every rank, since the network may be spread over them."""
        if self._images is None or not trainer.loggers:
            return
        generator = torch.Generator(module.device).manual_seed(0)
        made = module.sample(self.num_images, generator)
        pairs = torch.stack([self._images.to(made) / 255, module.reconstruct(self._images)], dim=1).flatten(0, 1)
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        send_image(trainer, f"generated/{stage}", _grid(made), step)
        send_image(trainer, f"reconstructed/{stage}", _grid(pairs), step)  # each beside its original
        self._images = None


def _grid(images: Tensor) -> Tensor:
    """Arrange images, shape (N, C, H, W), in one of shape (3, H', W'); tiny ones are enlarged."""
    scale = max(32 // max(images.shape[-2:]), 1)
    grid: Tensor = make_grid(interpolate(images.float().cpu(), scale_factor=scale).clamp(0, 1), nrow=16)
    return grid
