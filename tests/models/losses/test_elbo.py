import math

import pytest
import torch
from torch.distributions import Categorical, Normal

from src.models.losses.elbo import NegativeElbo, elbo_terms

LEVELS = torch.tensor([[0, 1, 2], [2, 2, 0]])
LIKELIHOOD = Categorical(probs=torch.tensor([0.5, 0.25, 0.25]).expand(2, 3, 3))


def test_latents_that_say_nothing_cost_nothing() -> None:
    distortion, rate = elbo_terms(Normal(torch.zeros(2, 4), torch.ones(2, 4)), LIKELIHOOD, LEVELS)
    assert (distortion / math.log(2)).tolist() == pytest.approx([1 + 2 + 2, 2 + 2 + 1])
    assert rate.tolist() == [0, 0]


def test_the_rate_is_the_closed_form() -> None:
    mean, scale = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 2.0]])
    _, rate = elbo_terms(Normal(mean, scale), LIKELIHOOD, LEVELS)
    assert float(rate) == pytest.approx(float(0.5 * (mean**2 + scale**2 - 1 - 2 * scale.log()).sum()))


def test_beta_weighs_the_rate() -> None:
    outputs = Normal(torch.ones(2, 4), torch.ones(2, 4)), LIKELIHOOD
    losses = [float(NegativeElbo(beta)(outputs, LEVELS)) for beta in (0.0, 1.0, 3.0)]
    assert losses[0] == pytest.approx(5 * math.log(2))
    assert [losses[1] - losses[0], losses[2] - losses[0]] == pytest.approx([2, 6])
    with pytest.raises(ValueError, match="beta must be at least 0, got -1"):
        NegativeElbo(-1)
