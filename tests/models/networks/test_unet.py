import pytest
import torch

from src.models.networks.unet import UNet


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


@pytest.mark.parametrize(
    ("widths", "message"),
    [([], r"at least one width, .* got in_channels 1, num_classes 10, widths \[\]"), ([0], "every number at least 1")],
)
def test_impossible_sizes(widths: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNet(1, 10, widths)
