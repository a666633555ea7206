import pytest
import torch

from src.models.networks.small_pyramid import SmallPyramid


def test_small_pyramid_gives_a_quarter_and_sees_the_whole() -> None:
    net = SmallPyramid(3, [4, 4, 4, 4], 6).eval()
    images = torch.rand(2, 3, 32, 64, requires_grad=True)
    features = net(images)
    assert features.shape == (2, 6, 8, 16)
    assert net.out_channels == 6
    (gradient,) = torch.autograd.grad(features[0, 0, 4, 8], images)
    rows = gradient[0, 0].abs().sum(dim=1).nonzero().flatten()
    assert (int(rows[0]), int(rows[-1])) == (0, 31)


def test_impossible_sizes() -> None:
    wanted = r"at least two widths, .* got in_channels 3, widths \[8\], out_channels 8"
    with pytest.raises(ValueError, match=wanted):
        SmallPyramid(3, [8], 8)
