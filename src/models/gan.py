from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchmetrics import Metric


class GANModule(LightningModule):
    """Generative adversarial network of images (arXiv:1406.2661): two networks, each with an optimizer of its own.

    It is a LightningModule and no BaseModule, since its step optimizes by hand. A batch is images of shape
    (B, C, H, W), values in [-1, 1], or begins with them. Validation and test log how far generated ones are from them.

    Args:
        generator: Maps latents (B, num_latents) to images (B, C, H, W), before tanh.
        discriminator: Maps images to one logit each, shape (B, 1), above 0 for those that it takes for real.
        generator_optimizer: Made over the generator's parameters.
        discriminator_optimizer: Made over the discriminator's parameters.
        num_latents: Numbers that an image is made from, at least 1.
        distance: Compares the two, as torchmetrics.image.FrechetInceptionDistance (arXiv:1706.08500); lower is better.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        generator_optimizer: OptimizerCallable,
        discriminator_optimizer: OptimizerCallable,
        num_latents: int,
        distance: Metric,
    ) -> None:
        super().__init__()
        self.generator, self.discriminator, self.num_latents = generator, discriminator, num_latents
        self.automatic_optimization, self.distance = False, distance
        self._factories = (generator, generator_optimizer), (discriminator, discriminator_optimizer)

    def forward(self, latents: Tensor) -> Tensor:
        """Return images (B, C, H, W), values in [-1, 1], for latents (B, num_latents)."""
        return torch.tanh(self.generator(latents))

    def outputs(self, latents: Tensor) -> Tensor:
        """Return an image for random numbers, values in [0, 1], shape (B, C, H, W)."""
        return (self(latents) + 1) / 2

    def export_inputs(self, method: str, count: int) -> Tensor:
        """Return the random numbers that images are made from, shape (count, num_latents)."""
        return torch.randn(count, self.num_latents)

    def configure_optimizers(self) -> Any:
        """Build an optimizer for each network."""
        return [build(network.parameters()) for network, build in self._factories]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Let the discriminator tell the batch from generated images, then let the generator deceive it."""
        real = batch[0] if isinstance(batch, tuple | list) else batch
        for_generator, for_discriminator = self.optimizers()  # type: ignore
        fake = self(self._latents(len(real)))
        loss = self._loss(real, 1.0) + self._loss(fake.detach(), 0.0)
        self._optimize(for_discriminator, loss)
        deceived = self._loss(fake, 1.0)
        self._optimize(for_generator, deceived)
        for name, value in (("discriminator", loss), ("generator", deceived)):
            self.log(f"train/{name}_loss", value, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(real))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Compare as many generated images as the batch has with it."""
        real = batch[0] if isinstance(batch, tuple | list) else batch
        self.distance.update(real, real=True)
        self.distance.update(self(self._latents(len(real))), real=False)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log the distance of all of them."""
        stage = "test" if self.trainer.testing else "val"
        self.log(f"{stage}/frechet_distance", self.distance.compute(), sync_dist=True)
        self.distance.reset()

    on_test_epoch_end = on_validation_epoch_end

    @torch.no_grad()
    def sample(self, num_images: int, generator: torch.Generator) -> Tensor:
        """Return generated images, values in [0, 1], shape (num_images, C, H, W); the generator is on their device."""
        latents = torch.randn(num_images, self.num_latents, generator=generator, device=self.device)
        return self.outputs(latents)

    def _latents(self, count: int) -> Tensor:
        return torch.randn(count, self.num_latents, device=self.device)

    def _loss(self, images: Tensor, target: float) -> Tensor:
        logits = self.discriminator(images)
        return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    def _optimize(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
