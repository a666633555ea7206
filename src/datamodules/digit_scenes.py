from dataclasses import dataclass
from typing import Any, Literal

from torch.utils.data import Dataset

from src.datamodules.datasets.box_dataset import BoxDataset
from src.datamodules.datasets.compose_scenes import DIGIT_SIZES, compose_scenes
from src.datamodules.digits import DigitsDataModule
from trainworks import ArrayDataset, BaseDataModule, UsageError

CLASS_NAMES = ["background", *map(str, range(10))]


@dataclass(kw_only=True, eq=False, repr=False)
class DigitScenesDataModule(BaseDataModule):
    """Colour images with several of scikit-learn's digits each, and the exact mask or box of every digit.

    The scenes are composed at the start and kept in memory. Each depends only on `scene_seed`, its split and number.
    Test scenes are made of test digits, validation scenes of validation digits (see `DigitsDataModule`), so no digit is
    in two splits. Class 0 is background, class 1 the digit 0, class 10 the digit 9.

    Args:
        targets: "masks" for the class of every pixel, shape (H, W); "boxes" for what torchvision's detectors take, a
            dictionary of boxes (corners x1, y1, x2, y2 in pixels, shape (M, 4)) and labels (shape (M,)).
        image_size: Height and width of a scene in pixels.
        max_digits: Largest number of digits in a scene; digits do not overlap, and one that finds no room is left out.
        num_train: Number of training scenes.
        num_val: Number of validation scenes.
        num_test: Number of test scenes.
        scene_seed: Seed of the scenes.
    """

    targets: Literal["masks", "boxes"]
    image_size: int = 64
    max_digits: int = 5
    num_train: int = 2000
    num_val: int = 400
    num_test: int = 400
    scene_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.any_size = self.targets == "boxes"  # boxes are in pixels of the image as it is
        self.check_at_least(image_size=DIGIT_SIZES[1], max_digits=1, num_train=1, num_val=1, num_test=1)
        if self.num_classes not in (None, len(CLASS_NAMES)):
            raise ValueError(
                f"data.num_classes must be {len(CLASS_NAMES)}, background and digits, got {self.num_classes}"
            )

    def load_splits(self) -> dict[str, Dataset[Any]]:
        """Compose the scenes of each split from the digits of that split."""
        digits = DigitsDataModule(val_fraction=self.val_fraction, split_seed=self.split_seed)
        digits.load()
        splits: dict[str, Dataset[Any]] = {}
        for k, name in enumerate(("train", "val", "test")):
            if name not in digits.splits:
                raise UsageError(f"data.val_fraction leaves no digits for {name} scenes, got {self.val_fraction}")
            part: Any = digits.splits[name]
            given = part.inputs[:, 0].numpy(), part.targets.numpy(), getattr(self, f"num_{name}")
            scenes = compose_scenes(*given, self.image_size, self.max_digits, (self.scene_seed, k))
            if name == "train":
                shown = [int((scenes.labels == k).any(dim=1).sum()) for k in range(1, len(CLASS_NAMES))]
                self._counts = [self.num_train, *shown]
            if self.targets == "masks":
                splits[name] = ArrayDataset(scenes.images, scenes.masks, classes=CLASS_NAMES)
            else:
                splits[name] = BoxDataset(scenes.images, scenes.boxes, scenes.labels, CLASS_NAMES)
        return splits

    def facts(self) -> dict[str, Any]:
        """Return the classes, which are known before any scene is composed."""
        return {"num_classes": len(CLASS_NAMES), "class_names": CLASS_NAMES}

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of training scenes that show a class, by its name."""
        return dict(zip(CLASS_NAMES, self._counts, strict=True)) if self.splits else {}
