import math
from typing import Any

import torch
from torch import Tensor

from src.models.losses.elbo import elbo_terms
from src.models.networks.autoencoder import VAE
from trainworks import BaseModule, inputs_of


class VAEModule(BaseModule):
    """Variational autoencoder of images of uint8, shape (B, C, H, W); targets, where a batch has them, are not used.

    The network is a `VAE`; the loss takes its outputs and the levels of the pixels, as `NegativeElbo`. Metrics get the
    negative bound of each image in nats, shape (B,), and the levels, shape (B, C, H, W), as `BitsPerDim`.
    """

    net: VAE

    def step(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss, negative bounds and levels of one batch."""
        images = inputs_of(batch)
        posterior, likelihood = self.net(images)
        levels = self.net.levels(images)
        distortion, rate = elbo_terms(posterior, likelihood, levels)
        return self.loss((posterior, likelihood), levels), distortion + rate, levels

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Return the bits per pixel, shape (B,), and the latents' means, shape (B, D)."""
        _, nats, levels = self.step(batch)
        bits = nats / levels[0].numel() / math.log(2)
        return {"bits_per_dim": bits, "latent": self.net.encode(inputs_of(batch)).mean}

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return what the network makes of images, values in [0, 1], shape (B, C, H, W), and their latents (B, D)."""
        latent = self.net.encode(images).mean
        return {"reconstruction": self.net.draw(latent), "latent": latent}

    def decode(self, latents: Tensor) -> Tensor:
        """Return the images of latents (B, D), values in [0, 1], shape (B, C, H, W)."""
        return self.net.draw(latents)

    def export_inputs(self, method: str, count: int) -> Tensor | None:
        """Return latents for `export --method decode`, shape (count, D)."""
        return torch.randn(count, self.net.num_latents) if method == "decode" else None

    @torch.no_grad()
    def sample(self, num_images: int, generator: torch.Generator) -> Tensor:
        """Return images drawn from the prior, values in [0, 1], shape (num_images, C, H, W); all on one device."""
        latents = torch.randn(num_images, self.net.num_latents, generator=generator, device=self.device)
        return self.net.draw(latents)

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """Return what the network makes of images (B, C, H, W), values in [0, 1], by the means of their latents."""
        return self.net.draw(self.net.encode(images).mean)
