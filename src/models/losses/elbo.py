import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal, kl_divergence


def elbo_terms(posterior: Normal, likelihood: Distribution, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two terms of the evidence lower bound (arXiv:1312.6114).

    Args:
        posterior: Of the latents given the data, shape (B, D).
        likelihood: Of the data given the latents, shape (B, ...).
        values: The data, shape (B, ...).

    Returns:
        Distortion, the negative log-likelihood of the data, and rate, the divergence of the posterior from the standard
        normal distribution; in nats, each of shape (B,). The negative bound is their sum.
    """
    zero, one = torch.zeros_like(posterior.loc), torch.ones_like(posterior.loc)
    rate = kl_divergence(posterior, Normal(zero, one, validate_args=False)).sum(dim=1)
    return -likelihood.log_prob(values).flatten(1).sum(dim=1), rate


class NegativeElbo(nn.Module):
    """The loss of a variational autoencoder: distortion + beta * rate, in nats, mean over the batch.

    Args:
        beta: Weight of the rate, at least 0: 1 for the bound itself, more for disentangled latents
            (https://openreview.net/forum?id=Sy2fzU9gl).
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        if beta < 0:
            raise ValueError(f"NegativeElbo: beta must be at least 0, got {beta}")
        self.beta = beta

    def forward(self, outputs: tuple[Normal, Distribution], values: Tensor) -> Tensor:
        """Return the loss, shape (), for posterior and likelihood of a batch."""
        distortion, rate = elbo_terms(*outputs, values)
        return (distortion + self.beta * rate).mean()
