import pytest
import torch
from torch import nn

from src.models.networks.rescaled import Rescaled


def test_outputs_are_in_the_targets_units() -> None:
    inputs = torch.tensor([[0.0, 1.0], [2.0, -1.0]])
    net = Rescaled(nn.Identity(), mean=[100.0, -3.0], std=[10.0, 0.5])
    assert net(inputs).tolist() == [[100.0, -2.5], [120.0, -3.5]]
    assert set(net.state_dict()) == {"mean", "std"}


@pytest.mark.parametrize(("mean", "std"), [([1.0], [0.0]), ([1.0], [1.0, 2.0]), ([], [])])
def test_numbers_that_are_no_scale(mean: list[float], std: list[float]) -> None:
    with pytest.raises(ValueError, match="Rescaled needs as many means as deviations, all above 0; got"):
        Rescaled(nn.Identity(), mean, std)
