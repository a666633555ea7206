from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss


class GANModule(LightningModule):
    """Two networks that learn from each other, each with an optimizer of its own; no BaseModule, it steps by hand."""

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        generator_optimizer: OptimizerCallable,
        discriminator_optimizer: OptimizerCallable,
        num_latents: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization, self.num_latents = False, num_latents
        self.generator, self.discriminator = generator, discriminator
        self._factories = (generator, generator_optimizer), (discriminator, discriminator_optimizer)

    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(self.generator(latents)).view(-1, 1, 8, 8)

    def export_inputs(self, method: str, count: int) -> Tensor:
        return torch.randn(count, self.num_latents)

    def configure_optimizers(self) -> Any:
        return [build(network.parameters()) for network, build in self._factories]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for_generator, for_discriminator = self.optimizers()  # type: ignore[attr-defined,union-attr]
        fake = self._fake(len(batch[0]))
        loss = self._loss(batch[0], 1.0) + self._loss(fake.detach(), 0.0)
        self._optimize(for_discriminator, loss)
        deceived = self._loss(fake, 1.0)
        self._optimize(for_generator, deceived)
        self.log_dict(
            {"train/discriminator_loss": loss, "train/generator_loss": deceived}, on_step=False, on_epoch=True
        )

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        stage = "test" if self.trainer.testing else "val"
        self.log(f"{stage}/distance", mse_loss(self._fake(len(batch[0])).mean(0), batch[0].mean(0)))

    test_step = validation_step

    def _fake(self, count: int) -> Tensor:
        return self(torch.randn(count, self.num_latents, device=self.device))

    def _loss(self, images: Tensor, target: float) -> Tensor:
        logits = self.discriminator(images)
        return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    def _optimize(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
