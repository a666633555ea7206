import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainworks.models.base import BaseModule


class Decoder(nn.Module):
    """From numbers to an image: a 3x3 convolution of so many channels with ReLU; U doubles height and width."""

    def __init__(self, in_features: int, out_channels: int, layers: list[int | str], start_size: int = 4) -> None:
        super().__init__()
        channels = int(layers[0])
        modules: list[nn.Module] = [nn.Linear(in_features, channels * start_size**2)]
        modules.append(nn.Unflatten(1, (channels, start_size, start_size)))
        for layer in layers:
            if isinstance(layer, str):
                modules.append(nn.Upsample(scale_factor=2))
                continue
            modules += [nn.Conv2d(channels, layer, 3, padding=1), nn.ReLU()]
            channels = layer
        self.layers = nn.Sequential(*modules, nn.Conv2d(channels, out_channels, 1))

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents)


class VAE(nn.Module):
    """An encoder to mean and log deviation of the latents, and a decoder to logits of the levels of each pixel."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_scale = self.encoder(images.float() / 127.5 - 1).chunk(2, dim=1)
        return mean, log_scale, self.decoder(mean + log_scale.exp() * torch.randn_like(mean))


class NegativeElbo(nn.Module):
    """Negative evidence lower bound of images of 17 levels, in nats, shape (B,)."""

    def forward(self, outputs: tuple[Tensor, Tensor, Tensor], images: Tensor) -> Tensor:
        mean, log_scale, logits = outputs
        levels = (images[:, 0].float() * (16 / 255)).round().long()
        rate = (mean**2 + (2 * log_scale).exp() - 1) / 2 - log_scale
        return cross_entropy(logits, levels, reduction="none").sum(dim=(1, 2)) + rate.sum(dim=1)


class VAEModule(BaseModule):
    """A variational autoencoder of the digits as they are."""

    def step(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        nats = self.nats(batch[0])
        return nats.mean(), nats, batch[0]

    def nats(self, images: Tensor) -> Tensor:
        bounds: Tensor = self.loss(self.net(images), images)
        return bounds

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.net.encoder(images.float() / 127.5 - 1).chunk(2, dim=1)[0]  # type: ignore[operator,union-attr]
        return self.decode(mean), mean

    def decode(self, latents: Tensor) -> Tensor:
        return self.net.decoder(latents).softmax(dim=1)  # type: ignore[operator,union-attr]

    def export_inputs(self, method: str, count: int) -> Tensor | None:
        return torch.randn(count, 16) if method == "decode" else None

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        images = batch[0] if isinstance(batch, tuple | list) else batch
        return {"bits_per_dim": self.nats(images) / images[0].numel() / math.log(2)}
