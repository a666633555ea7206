from typing import Any

import pytest
import torch

from src.models.networks.small_cnn import SmallCNN


@pytest.mark.parametrize("pool_size", [1, 2])
def test_small_cnn_takes_any_size(pool_size: int) -> None:
    net = SmallCNN(3, 5, [4, "M", 8], pool_size, dropout=0.5)
    assert tuple(net.features(torch.zeros(2, 3, 9, 14)).shape) == (2, 8 * pool_size**2)
    assert tuple(net(torch.zeros(2, 3, 32, 32)).shape) == (2, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 10, ["M"]), "needs a convolution"),
        ((1, 0, [3]), "every number at least 1; got in_channels 1, num_classes 0"),
        ((1, 10, [3], 1, 1.0), r"dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_impossible_sizes(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SmallCNN(*arguments)
