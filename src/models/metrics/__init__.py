from src import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    bits="BitsPerCharacter BitsPerDim",
    reliability_diagram="ReliabilityDiagram",
    running_mean="RunningMean",
)
