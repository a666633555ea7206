import pytest
import torch

from src.models.networks.mlp import MLP


@pytest.mark.parametrize(("hidden", "parameters"), [([], 650), ([16], 64 * 16 + 32 + 170)])
def test_mlp_flattens_and_maps(hidden: list[int], parameters: int) -> None:
    net = MLP(64, 10, hidden)
    assert tuple(net(torch.zeros(3, 1, 8, 8)).shape) == (3, 10)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


def test_impossible_sizes() -> None:
    with pytest.raises(ValueError, match=r"must be at least 1, got \[0, 10\]"):
        MLP(0, 10, [])
