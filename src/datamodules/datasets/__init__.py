from src.datamodules.datasets.array import ArrayDataset

__all__ = ["ArrayDataset"]
