from typing import Any

import pytest
import torch

from src.models.networks import MLP, SmallCNN, SmallPyramid, UNet


@pytest.mark.parametrize(("hidden", "parameters"), [([], 650), ([16], 64 * 16 + 32 + 170)])
def test_mlp_flattens_and_maps(hidden: list[int], parameters: int) -> None:
    net = MLP(64, 10, hidden)
    assert tuple(net(torch.zeros(3, 1, 8, 8)).shape) == (3, 10)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


@pytest.mark.parametrize("pool_size", [1, 2])
def test_small_cnn_takes_any_size(pool_size: int) -> None:
    net = SmallCNN(3, 5, [4, "M", 8], pool_size, dropout=0.5)
    assert tuple(net.features(torch.zeros(2, 3, 9, 14)).shape) == (2, 8 * pool_size**2)
    assert tuple(net(torch.zeros(2, 3, 32, 32)).shape) == (2, 5)


@pytest.mark.parametrize("size", [(32, 32), (17, 30), (3, 1)])
def test_unet_has_an_output_for_each_pixel_of_any_size(size: tuple[int, int]) -> None:
    assert UNet(1, 5, [4, 6, 8])(torch.zeros(2, 1, *size)).shape == (2, 5, *size)
    assert UNet(1, 5, [4])(torch.zeros(2, 1, *size)).shape == (2, 5, *size)


def test_unet_sees_far_and_keeps_what_is_fine() -> None:
    net = UNet(1, 2, [16, 16, 16, 16]).eval()
    images = torch.zeros(1, 1, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(images + torch.rand(1, 1, 32, 32))[0, 0, 16, 16], images)
    rows = gradient[0, 0].abs().sum(dim=1).nonzero().flatten()
    assert int(rows[-1] - rows[0]) > 24
    assert gradient[0, 0, 16, 16] != 0


def test_small_pyramid_gives_a_quarter_and_sees_the_whole() -> None:
    net = SmallPyramid(3, [4, 4, 4, 4], 6).eval()
    images = torch.rand(2, 3, 32, 64, requires_grad=True)
    features = net(images)
    assert features.shape == (2, 6, 8, 16)
    assert net.out_channels == 6
    (gradient,) = torch.autograd.grad(features[0, 0, 4, 8], images)
    rows = gradient[0, 0].abs().sum(dim=1).nonzero().flatten()
    assert (int(rows[0]), int(rows[-1])) == (0, 31)


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        (MLP, (0, 10, []), r"must be at least 1, got \[0, 10\]"),
        (SmallCNN, (1, 10, ["M"]), "needs a convolution"),
        (SmallCNN, (1, 0, [3]), "every number at least 1; got in_channels 1, num_classes 0"),
        (UNet, (1, 10, []), r"at least one width, .* got in_channels 1, num_classes 10, widths \[\]"),
        (UNet, (1, 10, [0]), "every number at least 1"),
        (SmallPyramid, (3, [8], 8), r"at least two widths, .* got in_channels 3, widths \[8\], out_channels 8"),
        (SmallCNN, (1, 10, [3], 1, 1.0), r"dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_impossible_sizes(network: type, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(*arguments)
