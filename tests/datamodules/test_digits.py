import torch

from src.datamodules.digits import DigitsDataModule


def splits(**arguments: int | float) -> dict[str, torch.Tensor]:
    data = DigitsDataModule(**arguments)  # type: ignore[arg-type]
    data.setup("fit")
    return {name: split.inputs for name, split in data.splits.items()}  # type: ignore[attr-defined]


def test_all_digits_in_three_parts() -> None:
    parts = splits()
    shapes = {name: tuple(images.shape) for name, images in parts.items()}
    assert shapes == {"train": (1294, 1, 8, 8), "val": (144, 1, 8, 8), "test": (359, 1, 8, 8)}
    assert parts["train"].dtype == torch.uint8
    assert (int(parts["train"].min()), int(parts["train"].max())) == (0, 255)


def test_the_test_split_never_changes() -> None:
    first, second = splits(split_seed=0, val_fraction=0.1), splits(split_seed=1, val_fraction=0.3)
    assert torch.equal(first["test"], second["test"])
    assert not torch.equal(first["val"], second["val"][: len(first["val"])])
