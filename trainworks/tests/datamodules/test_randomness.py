import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from trainworks.datamodules.randomness import kept_generators, mix, seed_sample


def test_mix_is_the_published_generator() -> None:
    assert mix(0) == 0xE220A8397B1DCDAF  # the first number of splitmix64 seeded with 0
    assert len({mix(a, b) for a in range(100) for b in range(100)}) == 10_000


def draws() -> Iterator[float]:
    yield from (float(torch.rand(1)), float(np.random.rand()), random.random())


def test_every_generator_is_seeded_by_sample_and_epoch() -> None:
    seen = []
    for words in ((1, 2, 3), (1, 2, 3), (0, 2, 3), (1, 0, 3), (1, 2, 0)):
        seed_sample(*words)
        seen.append(tuple(draws()))
    assert seen[0] == seen[1]
    assert len({number for numbers in seen for number in numbers}) == 12


@pytest.mark.parametrize("fails", [False, True])
def test_generators_are_left_as_they_were(fails: bool) -> None:
    seed_sample(0, 0, 0)
    expected = list(draws())
    seed_sample(0, 0, 0)
    try:
        with kept_generators():
            seed_sample(9, 9, 9)
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert list(draws()) == expected
