import pytest
import torch

from src.models.networks.small_decoder import SmallDecoder


def test_a_decoder_doubles_the_size_at_each_u() -> None:
    assert SmallDecoder(5, 3, [8, "U", 4, "U"], start_size=7)(torch.randn(2, 5)).shape == (2, 3, 28, 28)
    with pytest.raises(ValueError, match="layers must begin with a number"):
        SmallDecoder(5, 3, ["U", 8], start_size=7)
