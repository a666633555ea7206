from src import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    array="ArrayDataset",
    boxes="BoxDataset",
    images="ImageDataset ImageFiles ImageFormat",
    keyed="KeyedDataset",
)
