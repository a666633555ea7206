from src import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    keep_lists="KeepLists",
    pad_sequences="PadSequences",
    cutout="Cutout",
    per_image="RandomCrop RandomFlip RandomShift",
    per_sample="PerSample",
    random_resized_crop="RandomResizedCrop",
)
