from src import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    batch="Cutout RandomCrop RandomFlip RandomResizedCrop RandomShift",
    collates="KeepLists PadSequences",
    sample="PerSample",
)
