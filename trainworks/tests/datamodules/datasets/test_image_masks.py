from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import RandomCrop

from trainworks.datamodules.datasets.array_dataset import ArrayDataset
from trainworks.datamodules.datasets.decode import UnreadableImage
from trainworks.datamodules.datasets.file_index import find_images, pack_names
from trainworks.datamodules.datasets.image_dataset import ImageFiles
from trainworks.datamodules.image_base import ImageDataModule
from trainworks.errors import UsageError


class ImagesWithMasks(ImageFiles):
    """Masks are arrays in a folder that is hidden among the images."""

    has_masks = True

    def paths(self, item: int) -> list[str]:
        return [self.path(item), f"{self.root}/.masks/{self.name(item)}.npy"]

    def decode_mask(self, item: int) -> Tensor:
        return torch.from_numpy(np.load(self.paths(item)[1]))


@dataclass(kw_only=True, eq=False, repr=False)
class MaskData(ImageDataModule):
    root: str

    def load_splits(self) -> dict[str, Any]:
        names = pack_names(find_images(self.root))
        return {"all": ImagesWithMasks(self.root, ArrayDataset(names, None, names=names), self.form)}  # type: ignore


def write_pair(folder: Path, name: str, size: tuple[int, int], orientation: int = 1, stored: bool = False) -> None:
    """Write an image whose red is its mask's class times 60; a turned one's mask upright or as it is stored."""
    mask = np.kron(np.arange(4, dtype=np.uint8).reshape(2, 2), np.ones((size[1] // 2, size[0] // 2), np.uint8))
    (folder / ".masks").mkdir(exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.stack([mask * 60] * 3, axis=2))
    image.save(folder / f"{name}.png", exif=exif)
    turned = {1: mask, 6: np.rot90(mask, -1), 8: np.rot90(mask), 5: mask.T, 7: np.rot90(mask, 2).T}[orientation]
    np.save(folder / f".masks/{name}.png.npy", mask if stored else np.ascontiguousarray(turned))


def load(root: Path, storage: str, fit: str = "stretch", **options: Any) -> MaskData:
    data = MaskData(root=str(root), image_size=16, fit=fit, storage=storage, cache_dir=str(root / ".cache"), **options)
    data.load()
    return data


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_masks_follow_their_images_in_memory_in_the_cache_and_from_files(tmp_path: Path, fit: str) -> None:
    for number in range(10):
        write_pair(tmp_path, f"a{number}", (64, 32) if number % 2 else (24, 40))
    in_memory, cached, files = (load(tmp_path, s, fit).splits["train"] for s in ("memory", "cache", "files"))
    images, masks = in_memory.__getitems__(range(len(in_memory)))  # type: ignore
    assert (images.shape, masks.shape, images.dtype, masks.dtype) == ((8, 3, 16, 16), (8, 16, 16), *[torch.uint8] * 2)
    inside = (images[:, 0] == images[:, 0].div(60, rounding_mode="floor") * 60) & (masks != 255)
    assert inside.float().mean() > 0.3  # the others are blended where classes meet
    assert torch.equal(images[:, 0][inside], masks[inside] * 60)
    assert (masks == 255).any() == (fit == "pad")
    for item in range(len(files)):  # type: ignore
        for dataset in (in_memory, cached, files):
            image, mask = dataset[item]
            assert torch.equal(image, images[item])
            assert torch.equal(mask, masks[item])


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("stored", [False, True])
def test_a_mask_may_be_upright_or_stored_as_its_turned_image_is(tmp_path: Path, orientation: int, stored: bool) -> None:
    write_pair(tmp_path, "a", (64, 32), orientation, stored)
    names = pack_names(["a.png"])
    data = MaskData(root=str(tmp_path), image_size=8, fit="stretch")
    images = ImagesWithMasks(str(tmp_path), ArrayDataset(names, None, names=names), data.form)  # type: ignore
    image, mask = images[0]
    corners = (..., slice(None, None, 7), slice(None, None, 7))
    assert torch.equal(image[0][corners], mask[corners] * 60)


def test_random_transforms_take_image_and_mask_together(tmp_path: Path) -> None:
    for number in range(4):
        write_pair(tmp_path, f"a{number}", (64, 32))
    data = load(tmp_path, "auto", sample_transform=[RandomCrop(16)])
    for _ in range(20):
        image, mask = data.splits["train"][0]
        assert torch.equal(image[0], mask * 60)


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    for number in range(4):
        write_pair(tmp_path, f"a{number}", (64, 32))
    np.save(tmp_path / ".masks/a2.png.npy", np.zeros((30, 64), np.uint8))
    with pytest.raises(UsageError, match=r"a2.png: the mask has 64 x 30 pixels, but its image has 64 x 32"):
        load(tmp_path, "memory")
    assert len(load(tmp_path, "memory", skip_unreadable=True, val_fraction=0.0, test_fraction=0.0).splits["train"]) == 3  # type: ignore
    assert issubclass(UnreadableImage, UsageError)


def test_a_changed_mask_makes_the_cache_anew(tmp_path: Path) -> None:
    for number in range(4):
        write_pair(tmp_path, f"a{number}", (64, 32))
    for expected in (3, 9):
        data: Any = load(tmp_path, "cache", val_fraction=0.0, test_fraction=0.0).splits["train"]
        assert [int(data[k][1].max()) for k in range(4)] == [3, 3, expected, 3]
        np.save(tmp_path / ".masks/a2.png.npy", np.full((32, 64), 9, np.uint8))
