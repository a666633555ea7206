"""Metrics that torchmetrics lacks."""

from typing import TYPE_CHECKING

from trainworks.lazy import hand_out

if TYPE_CHECKING:
    from trainworks.models.metrics.reliability_diagram import ReliabilityDiagram as ReliabilityDiagram
    from trainworks.models.metrics.running_mean import RunningMean as RunningMean

__getattr__, __dir__, __all__ = hand_out(__name__, __file__)
