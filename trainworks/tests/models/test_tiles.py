"""Large images: what is found tile by tile is what is found in the whole image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.ops import box_iou

from trainworks.datamodules.datasets.array_dataset import ArrayDataset
from trainworks.datamodules.datasets.decode import UnreadableImage, decode_image
from trainworks.datamodules.datasets.file_index import pack_names
from trainworks.datamodules.datasets.image_dataset import ImageFiles
from trainworks.datamodules.datasets.image_rows import ImageRows
from trainworks.datamodules.image_folder import ImageFolderDataModule
from trainworks.datamodules.inputs import InputReader
from trainworks.errors import UsageError
from trainworks.models.results import BoxResult, MaskResult
from trainworks.models.tiles import predict_tiles
from trainworks.tests.conftest import write_images


class Reader(InputReader):
    """Images as they are."""

    collate, eval_transform, input_shape = None, [], [3, 64, 64]


class Masks(nn.Module):
    """Each pixel depends on those at most two away."""

    device, class_names = torch.device("cpu"), ["a", "b", "c"]

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images.float() / 255)

    def results(self, predictions: Tensor, names: list[str]) -> list[MaskResult]:
        probabilities, classes = predictions.softmax(dim=1).max(dim=1)
        return [MaskResult(classes[0].to(torch.uint8), probabilities.mean().item(), names)]


class Boxes(nn.Module):
    """Finds what is left in a tile of each rectangle of one colour, a pixel off; its class is its green."""

    device, class_names = torch.device("cpu"), ["background", "cat", "dog"]

    def forward(self, images: Tensor) -> list[dict[str, Tensor]]:
        found = []
        for image in images:
            places = [(image[0] == k).nonzero() for k in image[0].unique().tolist() if k]
            corners = [[*part.amin(0).flip(0).tolist(), *(part.amax(0).flip(0) + 1).tolist()] for part in places]
            boxes = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
            labels = torch.tensor([int(image[1, *part[0]]) for part in places], dtype=torch.long)
            moved = boxes + torch.rand(boxes.shape) - 0.5
            found.append({"boxes": moved, "labels": labels, "scores": 0.6 + 0.3 * torch.rand(len(boxes))})
        return found

    def results(self, predictions: list[dict[str, Tensor]], names: list[str]) -> list[BoxResult]:
        return [BoxResult(p["boxes"], [names[k] for k in p["labels"]], p["scores"].tolist()) for p in predictions]


def predict(module: Any, image: Tensor, tile: int, overlap: int, scale: float = 1.0) -> list[Any]:
    reader = Reader()
    reader.image_scale = scale
    return list(predict_tiles(module, reader, reader.rows(image), tile, overlap))


@pytest.mark.parametrize(("height", "width", "overlap"), [(150, 210, 16), (64, 64, 8), (65, 129, 31), (128, 100, 0)])
def test_masks_are_those_of_the_whole_image_away_from_the_edges_of_tiles(height: int, width: int, overlap: int) -> None:
    torch.manual_seed(0)
    image, module = torch.randint(0, 256, (3, height, width), dtype=torch.uint8), Masks()
    parts = predict(module, image, 64, overlap)
    with torch.inference_mode():
        whole = module.results(module(image[None]), [])[0]
    mask = torch.cat([part.mask for part in parts])
    assert mask.shape == (height, width)
    inside = torch.ones(height, width, dtype=torch.bool)
    for side, rows in ((height, inside), (width, inside.T)):
        for start in range(0, max(side - overlap, 1), 64 - overlap):
            begin = min(start, side - 64)
            rows[max(begin - 2, 0) : begin + 2] = rows[begin + 62 : begin + 66] = False
    inside[2:-2, 2:-2] |= (height, width) == (64, 64)
    assert inside.float().mean() > 0.7 and torch.equal(mask[inside], whole.mask[inside])
    confidence = sum(part.confidence * len(part.mask) for part in parts) / height
    assert confidence == pytest.approx(whole.confidence, abs=1e-3)


def test_masks_at_the_scale_of_the_training() -> None:
    blocks = torch.zeros(3, 150, 330, dtype=torch.uint8)
    blocks[:, 40:80, 100:200] = 255
    module = Masks()
    module.forward = lambda images: torch.cat([255 - images[:, :1], images[:, :1], 0 * images[:, :1]], 1).float()
    mask = torch.cat([part.mask for part in predict(module, blocks, 32, 8, scale=0.5)])
    assert mask.shape == (150, 330) and torch.equal(mask > 0, blocks[0] > 0)


RECTANGLES = {  # x1, y1, x2, y2; tiles of 64 begin at 0, 48, 96, 144
    "in one tile": [(10, 10, 30, 30)],
    "on a seam": [(45, 10, 70, 30)],
    "wider than the overlap": [(40, 20, 90, 35)],
    "wider than a tile": [(20, 5, 180, 40)],
    "on a corner": [(30, 30, 80, 80)],
    "as wide as the overlap": [(48, 10, 64, 30), (49, 40, 63, 60)],
    "neighbours of one class": [(20, 10, 52, 30), (52, 10, 84, 30), (20, 30, 52, 50), (52, 30, 84, 50)],
    "one within another's box": [(5, 5, 100, 100), (50, 50, 60, 60)],
    "nothing": [],
}


@pytest.mark.parametrize("kind", RECTANGLES)
def test_a_box_on_a_seam_comes_once(kind: str) -> None:
    torch.manual_seed(0)
    image, truth = torch.zeros(3, 200, 200, dtype=torch.uint8), torch.tensor(RECTANGLES[kind]).reshape(-1, 4)
    for number, (left, top, right, bottom) in enumerate(truth.tolist(), start=1):
        image[0, top:bottom, left:right] = number
        image[1, top:bottom, left:right] = label = 1 if kind.endswith("one class") else 1 + number % 2
        assert 0 < label < 3
    (result,) = predict(Boxes(), image, 64, 16)
    assert len(result.boxes) == len(truth)
    if len(truth):
        assert sorted(box_iou(truth.float(), result.boxes).max(dim=1).indices.tolist()) == [*range(len(truth))]
        assert box_iou(truth.float(), result.boxes).amax(dim=1).min() > 0.8


def test_boxes_at_the_scale_of_the_training() -> None:
    image = torch.zeros(3, 150, 330, dtype=torch.uint8)
    image[:, 40:80, 100:200] = 255
    module = Boxes()
    forward = module.forward
    module.forward = lambda images: forward((images > 127).to(torch.uint8))  # type: ignore[method-assign]
    (result,) = predict(module, image, 64, 16, scale=0.5)
    assert result.boxes[0].tolist() == pytest.approx([100, 40, 200, 80], abs=2)
    assert (result.labels, len(result.boxes)) == (["cat"], 1)


@pytest.mark.parametrize(("tile", "overlap"), [(64, 32), (64, 64), (0, 0)])
def test_tiles_that_are_too_small(tile: int, overlap: int) -> None:
    with pytest.raises(UsageError, match=f"must be larger than two overlaps, got tile {tile} and overlap {overlap}"):
        predict(Masks(), torch.zeros(3, 99, 99, dtype=torch.uint8), tile, overlap)


def test_a_classifier_has_no_tiles() -> None:
    module = Masks()
    module.forward = lambda images: images.float().mean((2, 3))  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="tiles are for boxes, and for masks in the size of their images, which Masks"):
        predict(module, torch.zeros(3, 99, 99, dtype=torch.uint8), 64, 8)


def test_a_scale_that_nobody_knows() -> None:
    reader = Reader()
    reader.image_scale = None
    with pytest.raises(UsageError, match="from a checkpoint that says how its images were resized"):
        reader.rows(torch.zeros(3, 9, 9, dtype=torch.uint8))


@pytest.mark.parametrize("kind", ["plain", "strips", "tiles", "grey", "planes", "16 bits", "png"])
def test_rows_are_those_of_the_decoded_image(tmp_path: Path, kind: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    array = np.random.default_rng(0).integers(0, 256, (150, 130, 3)).astype(np.uint8)
    path = str(tmp_path / "a.tif")
    how: dict[str, Any] = {"strips": {"compression": "zlib", "rowsperstrip": 16}, "tiles": {"tile": (64, 64)}}
    if kind == "png":
        Image.fromarray(array).save(path := str(tmp_path / "a.png"))
    elif kind == "planes":
        tifffile.imwrite(path, array.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    else:
        array = array[..., 0] if kind == "grey" else array.astype(np.uint16) * 257 if kind == "16 bits" else array
        tifffile.imwrite(path, array, **how.get(kind, {}))
    rows, whole = ImageRows(path, 3, "uint8", 1.0), decode_image(path, 3)[0]
    assert (rows._whole is None) == (kind not in ("planes", "png"))
    assert (rows.size, rows.height, rows.width) == ((150, 130), 150, 130)
    assert torch.equal(torch.cat([rows.read(0, 70), rows.read(70, 71), rows.read(71, 150)], dim=1), whole)
    half = ImageRows(path, 3, "uint8", 0.5)
    assert half.read(0, 75).shape == (3, 75, 65)
    assert (half.read(0, 75).float().mean() - whole.float().mean()).abs() < 2


def test_rows_of_many_bands_are_no_image_of_three(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    bands = np.zeros((20, 30, 5), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="contig")
    with pytest.raises(UnreadableImage, match="num_channels is 3, its shape"):
        ImageRows(tmp_path / "a.tif", 3, "uint8", 1.0).read(0, 9)
    assert ImageRows(tmp_path / "a.tif", 5, "uint8", 1.0).read(0, 9).shape == (5, 9, 30)


def test_a_damaged_image(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    with pytest.raises(UnreadableImage, match=r"a\.tif: cannot be read as an image"):
        ImageRows(tmp_path / "a.tif", 3, "uint8", 1.0)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((99, 99, 3), np.uint8), compression="zlib", rowsperstrip=9)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[:-40])
    rows = ImageRows(tmp_path / "a.tif", 3, "uint8", 1.0)
    with pytest.raises(UnreadableImage, match=r"a\.tif: cannot be read as an image"):
        rows.read(90, 99)


def test_the_scale_of_the_training_is_that_of_the_median_image(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 5, (64, 48))
    write_images(tmp_path / "b", 3, (20, 20))
    names = pack_names(f"{folder}/{k:03}.jpg" for folder, count in (("a", 5), ("b", 3)) for k in range(count))
    for wanted, options in ((16 / 48, {}), (16 / 64, {"fit": "pad"}), (1.0, {"sample_transform": [nn.Identity()]})):
        data = ImageFolderDataModule(root=".", image_size=16, **options)
        index = ArrayDataset(names, None, names=names)
        data.serve({"train": ImageFiles(str(tmp_path), index, data.form)})
        assert data.input_state(None)["image_scale"] == pytest.approx(wanted, abs=0.01)
    reader = ImageFolderDataModule(root=".", image_size=16)
    reader.load_input_state({"ImageFolderDataModule": data.input_state(None)})
    assert reader.image_scale == 1
    reader = ImageFolderDataModule(root=".", image_size=16)
    reader.load_input_state({})  # of a checkpoint that does not say it
    assert reader.image_scale is None
