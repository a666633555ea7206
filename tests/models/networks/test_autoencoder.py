import pytest
import torch
from torch import nn

from src.models.networks.autoencoder import VAE


def make_net(num_levels: int = 17, channels: int = 2, outputs: int = 6) -> VAE:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, outputs))
    decoder = nn.Sequential(nn.Unflatten(1, (3, 1, 1)), nn.ConvTranspose2d(3, channels * num_levels, 8))
    return VAE(encoder, decoder, num_latents=3, num_levels=num_levels).eval()


def test_each_shade_in_use_has_a_level() -> None:
    digits = torch.round(torch.arange(17) * 255 / 16).to(torch.uint8)
    assert make_net(17).levels(digits).tolist() == list(range(17))
    assert make_net(256).levels(torch.arange(256, dtype=torch.uint8)).tolist() == list(range(256))
    assert VAE(nn.Identity(), nn.Identity(), num_latents=1, num_levels=2).num_levels == 2  # the fewest


def test_the_likelihood_gives_every_level_of_every_pixel_a_probability() -> None:
    posterior, likelihood = make_net()(torch.randint(256, (5, 2, 8, 8), dtype=torch.uint8))
    assert posterior.mean.shape == (5, 3)
    assert likelihood.batch_shape == (5, 2, 8, 8)
    levels = torch.arange(17).view(17, 1, 1, 1, 1).expand(17, 5, 2, 8, 8)
    assert torch.allclose(likelihood.log_prob(levels).exp().sum(dim=0), torch.ones(5, 2, 8, 8))


def test_channels_and_levels_of_the_decoder_are_told_apart() -> None:
    net = make_net()
    logits = torch.zeros(1, 34, 8, 8)
    logits[0, 17 + 4] = 100.0  # level 4 of the second channel
    net.decoder = nn.ConvTranspose2d(3, 34, 8)
    nn.init.zeros_(net.decoder.weight)
    with torch.no_grad():
        net.decoder.bias.copy_(logits[0, :, 0, 0])
    image = net.draw(torch.zeros(1, 3, 1, 1))
    assert image.shape == (1, 2, 8, 8)
    assert torch.allclose(image[0, 0], torch.tensor(0.5))  # all levels alike
    assert torch.allclose(image[0, 1], torch.tensor(4 / 16))


def test_images_are_taken_as_they_are_stored() -> None:
    with pytest.raises(ValueError, match=r"must be of uint8, got torch.float32; leave ToDtype and Normalize out"):
        make_net().levels(torch.rand(1, 1, 8, 8))


def test_an_encoder_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must have 2 \* num_latents = 6 outputs, it has 5"):
        make_net(outputs=5)(torch.zeros(1, 2, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize(("latents", "levels"), [(0, 17), (3, 1), (3, 257)])
def test_refused(latents: int, levels: int) -> None:
    with pytest.raises(ValueError, match=rf"num_levels in \[2, 256\], got {latents} and {levels}"):
        VAE(nn.Identity(), nn.Identity(), latents, levels)
