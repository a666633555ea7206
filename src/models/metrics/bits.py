import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric


class BitsPerDim(Metric):
    """Bits per value of the data, such as a pixel: the length of a lossless code.

    It has this meaning only for values of finitely many levels and models that give each level a probability.
    """

    higher_is_better = False
    full_state_update = False
    nats: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nats", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, nats: Tensor, values: Tensor) -> None:
        """Add negative log-likelihoods in nats, of any shape, that stand for `values`, of any shape."""
        self._add(nats, values.numel())

    def compute(self) -> Tensor:
        """Return the mean over all values, shape ()."""
        return self.nats / self.count / math.log(2)

    def _add(self, nats: Tensor, count: Tensor | int) -> None:
        self.nats += nats.sum()
        self.count += count


class BitsPerCharacter(BitsPerDim):
    """Bits per character of UTF-8 text, for a language model over bytes.

    A character may be several bytes; in ASCII text each is one.
    """

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add a batch: logits of shape (B, T, 256) and the bytes that came, shape (B, T)."""
        nats = F.cross_entropy(logits.float().flatten(0, -2), targets.flatten(), reduction="sum")
        self._add(nats, ((targets & 0xC0) != 0x80).sum())  # all but continuation bytes
