from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.utils import make_grid

from src.callbacks.helpers.batch import inputs_of
from src.callbacks.helpers.media import send, steps_so_far
from src.callbacks.helpers.samples import Samples


class SampleImages(Samples):
    """Show images that a generative model makes, and some of the data beside what it makes of them.

    The module has a method `sample`, as GANModule, and `reconstruct` if it can do that too, as VAEModule. Both come
    after validation and test; the random numbers are the same each time and are not taken from training's.

    Args:
        num_images: Images shown of each kind, at least 1.
        every_n_epochs: Show them after the validation of every so many epochs, at least 1.
    """

    needed, example = ("sample",), "VAEModule or GANModule"

    def __init__(self, num_images: int = 64, every_n_epochs: int = 1) -> None:
        if min(given := (num_images, every_n_epochs)) < 1:
            raise ValueError(f"SampleImages: num_images and every_n_epochs must be at least 1, got {given}")
        super().__init__(every_n_epochs)
        self.num_images = num_images
        self._images: Tensor | None = None

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep images of the first batch."""
        if batch_idx == dataloader_idx == 0:
            self._images = inputs_of(batch)[: self.num_images]

    on_test_batch_end = on_validation_batch_end

    def send(self, trainer: Trainer, module: Any, stage: str) -> None:
        """Send what the module draws, and images beside what it makes of them."""
        if self._images is None:
            return
        generator = torch.Generator(module.device).manual_seed(0)
        made = module.sample(self.num_images, generator)
        step = steps_so_far(trainer)
        send(trainer, f"generated/{stage}", _grid(made), step)
        if hasattr(module, "reconstruct"):
            pairs = torch.stack([self._images.to(made) / 255, module.reconstruct(self._images)], dim=1).flatten(0, 1)
            send(trainer, f"reconstructed/{stage}", _grid(pairs), step)  # each beside its original
        self._images = None


def _grid(images: Tensor) -> Tensor:
    """Arrange images, shape (N, C, H, W), in one of shape (3, H', W'); tiny ones are enlarged."""
    scale = max(32 // max(images.shape[-2:]), 1)
    return make_grid(interpolate(images.float().cpu(), scale_factor=scale).clamp(0, 1), nrow=16)
