import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Normal

from trainworks import UsageError


class VAE(nn.Module):
    """Variational autoencoder of images (arXiv:1312.6114).

    Given the latents, the levels of a pixel have a categorical distribution, independent of the other pixels, so the
    likelihood in bits is the length of a code. That does not hold for a density over grey values, such as Normal or
    ContinuousBernoulli: on values of finitely many levels it can grow without bound.

    Args:
        encoder: Maps images (B, C, H, W), values in [-1, 1], to mean and log deviation of the latents, shape
            (B, 2 * num_latents).
        decoder: Maps latents (B, num_latents) to logits of the levels, shape (B, C * num_levels, H, W).
        num_latents: Length of the latent vector, at least 1.
        num_levels: Levels of a pixel, equally spaced from 0 to 255: 256 for all of uint8, 17 for scikit-learn's digits.

    Raises:
        ValueError: If a number is out of range.
        UsageError: If images are not of uint8, or the encoder has another number of outputs.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, num_latents: int, num_levels: int = 256) -> None:
        super().__init__()
        if num_latents < 1 or not 2 <= num_levels <= 256:
            raise ValueError(
                f"VAE: num_latents must be at least 1 and num_levels in [2, 256], got {num_latents} and {num_levels}"
            )
        self.encoder, self.decoder, self.num_latents, self.num_levels = encoder, decoder, num_latents, num_levels

    def levels(self, images: Tensor) -> Tensor:
        """Return the number of each pixel's level, int64, for images of uint8."""
        if images.dtype != torch.uint8:
            raise UsageError(f"VAE: images must be of uint8, got {images.dtype}; leave ToDtype and Normalize out")
        return (images.float() * ((self.num_levels - 1) / 255)).round().long()

    def encode(self, images: Tensor) -> Normal:
        """Return the posterior of the latents, shape (B, num_latents), given images of uint8, shape (B, C, H, W)."""
        mean_and_scale: Tensor = self.encoder(images.float() / 127.5 - 1).float()
        if mean_and_scale.shape[1] != 2 * self.num_latents:
            found, needed = mean_and_scale.shape[1], 2 * self.num_latents
            raise UsageError(f"VAE: the encoder must have 2 * num_latents = {needed} outputs, it has {found}")
        mean, log_scale = mean_and_scale.chunk(2, dim=1)
        return Normal(mean, log_scale.exp(), validate_args=False)  # checking the values would wait for the device

    def decode(self, latents: Tensor) -> Categorical:
        """Return the distribution of every pixel's level, shape (B, C, H, W), given latents (B, num_latents)."""
        logits = self.decoder(latents).float().unflatten(1, (-1, self.num_levels))
        return Categorical(logits=logits.movedim(2, -1), validate_args=False)

    def draw(self, latents: Tensor) -> Tensor:
        """Return the expected images for latents (B, num_latents), values in [0, 1], shape (B, C, H, W)."""
        probabilities: Tensor = self.decode(latents).probs
        return probabilities @ torch.linspace(0, 1, self.num_levels, device=latents.device)

    def forward(self, images: Tensor) -> tuple[Normal, Categorical]:
        """Return posterior and likelihood for images of uint8, shape (B, C, H, W)."""
        posterior = self.encode(images)
        return posterior, self.decode(posterior.rsample())
