"""Losses of several terms."""

from typing import TYPE_CHECKING

from trainworks.lazy import hand_out

if TYPE_CHECKING:
    from trainworks.models.losses.sum_of_terms import SumOfTerms as SumOfTerms
    from trainworks.models.losses.weighted_sum import WeightedSum as WeightedSum

__getattr__, __dir__, __all__ = hand_out(__name__, __file__)
