from src import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    keep_lists="KeepLists",
    pad_sequences="PadSequences",
    cutout="Cutout",
    per_sample="PerSample",
    random_crop="RandomCrop",
    random_flip="RandomFlip",
    random_resized_crop="RandomResizedCrop",
    random_shift="RandomShift",
)
