import math

import pytest
import torch
from torchmetrics.text import Perplexity

from src.models.metrics.bits import BitsPerCharacter, BitsPerDim


def test_bits_per_dim_weighs_values_alike() -> None:
    metric = BitsPerDim()
    metric.update(torch.tensor([10.0, 20.0]), torch.zeros(2, 1, 4, 4))
    metric.update(torch.tensor([12.0]), torch.zeros(1, 1, 4, 4))
    assert float(metric.compute()) == pytest.approx(42 / 48 / math.log(2))


def test_a_guess_among_all_bytes_takes_eight_bits() -> None:
    metric = BitsPerCharacter()
    metric.update(torch.zeros(2, 3, 256), torch.tensor([list(b"abc"), list(b"xyz")]))
    assert float(metric.compute()) == pytest.approx(8)


def test_a_character_of_several_bytes_is_counted_once() -> None:
    metric = BitsPerCharacter()
    metric.update(torch.zeros(1, 6, 256), torch.tensor([list("aß€".encode())]))  # 1, 2 and 3 bytes
    assert float(metric.compute()) == pytest.approx(6 * 8 / 3)


def test_for_ascii_it_is_the_logarithm_of_perplexity() -> None:
    metric, reference = BitsPerCharacter(), Perplexity()
    for _ in range(3):
        logits, targets = torch.randn(4, 10, 256), torch.randint(128, (4, 10))
        metric.update(logits, targets)
        reference.update(logits, targets)
    assert float(metric.compute()) == pytest.approx(math.log2(float(reference.compute())), rel=1e-5)
