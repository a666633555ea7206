import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainworks.datamodules import BoxFilesDataModule

SIZES = [(40, 60), (64, 32), (50, 50), (30, 90)]  # height and width
NAMES = ["cat", "dog", "owl"]
Boxes = dict[str, list[tuple[str, int, int, int, int]]]  # class and corners of each image


def write_images(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (*SIZES[number % len(SIZES)], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")


def draw_boxes(names: list[str]) -> Boxes:
    boxes: Boxes = {}
    for number, name in enumerate(names):
        random, (height, width) = np.random.default_rng(number), SIZES[number % len(SIZES)]
        boxes[name] = []
        for _ in range(number % 3):  # some images have none
            x, y = sorted(random.choice(width + 1, 2, replace=False)), sorted(random.choice(height + 1, 2, replace=False))
            boxes[name].append((NAMES[random.integers(3)], int(x[0]), int(y[0]), int(x[1]), int(y[1])))
    return boxes


def write_coco(root: Path, splits: dict[str, Boxes]) -> None:
    for split, images in splits.items():
        write_images(root / f"{split}2017", [*images])
        write_json(root / "annotations" / f"instances_{split}2017.json", coco(images))


def coco(images: Boxes) -> dict[str, Any]:
    """Return the content of a COCO file; the numbers of its categories have gaps, and one never occurs."""
    numbers = {"cat": 3, "unused": 4, "dog": 7, "owl": 90}
    content: dict[str, Any] = {"images": [], "annotations": []}
    content["categories"] = [{"id": number, "name": name} for name, number in numbers.items()]
    for number, (name, boxes) in enumerate(images.items(), start=100):
        height, width = SIZES[(number - 100) % len(SIZES)]
        content["images"].append({"id": number, "file_name": f"{name}.png", "height": height, "width": width})
        for kind, x1, y1, x2, y2 in boxes:
            box = {"image_id": number, "category_id": numbers[kind], "bbox": [x1, y1, x2 - x1, y2 - y1]}
            content["annotations"].append({"id": len(content["annotations"]) + 1} | box)
    return content


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_yolo(root: Path, splits: dict[str, Boxes]) -> None:
    for split, images in splits.items():
        write_images(root / "images" / split, [*images])
        (root / "labels" / split).mkdir(parents=True)
        for number, (name, boxes) in enumerate(images.items()):
            height, width = SIZES[number % len(SIZES)]
            numbers = [
                (NAMES.index(kind), (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
                for kind, x1, y1, x2, y2 in boxes
            ]
            lines = [" ".join(f"{value:.17g}" for value in row) for row in numbers]
            (root / "labels" / split / f"{name}.txt").write_text("\r\n".join(lines))
    entries = "".join(f"{split}: images/{split}\n" for split in splits)
    (root / "data.yaml").write_text(f"path: ../elsewhere\n{entries}nc: 3\nnames: {NAMES}\n")


def voc(boxes: list[tuple[str, int, int, int, int]], size: tuple[int, int]) -> str:
    objects = "".join(
        f"<object><name>{kind}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax>"
        f"<ymax>{y2}</ymax></bndbox></object>"
        for kind, x1, y1, x2, y2 in boxes
    )
    sizes = f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
    return f"<annotation><filename>wrong.jpg</filename>{sizes}{objects}</annotation>"


def write_voc(root: Path, splits: dict[str, Boxes]) -> None:
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "Annotations").mkdir()
    for split, images in splits.items():
        write_images(root / "JPEGImages", [*images])
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(images))
        for number, (name, boxes) in enumerate(images.items()):
            (root / "Annotations" / f"{name}.xml").write_text(voc(boxes, SIZES[number % len(SIZES)]))


WRITERS: dict[str, Callable[[Path, dict[str, Boxes]], None]] = {"coco": write_coco, "yolo": write_yolo, "voc": write_voc}
SPLITS = {"train": draw_boxes([f"a{k}" for k in range(9)]), "val": draw_boxes([f"b{k}" for k in range(4)])}


def make(root: Path, **arguments: Any) -> BoxFilesDataModule:
    usual = {"image_size": 64, "batch_size": 4, "num_workers": 0, "cache_dir": str(root / ".cache")}
    return BoxFilesDataModule(root=str(root), **usual | arguments)


def load(root: Path, **arguments: Any) -> BoxFilesDataModule:
    data = make(root, **arguments)
    data.setup("fit")
    return data


def samples(data: BoxFilesDataModule, split: str = "train") -> list[Any]:
    return [data.splits[split][k] for k in range(len(data.splits[split]))]  # type: ignore[arg-type]


def equal(first: Any, second: Any) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a, b) and all(torch.equal(s[k], t[k]) for k in s) for (a, s), (b, t) in pairs)


@pytest.mark.parametrize("kind", WRITERS)
def test_each_format_gives_the_boxes_in_the_image_as_it_is_padded(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path, SPLITS)
    data = load(tmp_path)
    names = ["background", "cat", "unused", "dog", "owl"] if kind == "coco" else ["background", *NAMES]
    numbers = {"coco": [3, 4, 7, 90], "yolo": [0, 1, 2], "voc": [1, 2, 3]}[kind]
    assert data.category_ids == dict(zip(names[1:], numbers, strict=True))
    assert data.facts() == {"num_classes": len(names), "class_names": names}
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 9, "val": 4}  # type: ignore[arg-type]
    for number, (image, target) in enumerate(samples(data)):
        height, width = SIZES[number % len(SIZES)]
        wanted, scale = SPLITS["train"][f"a{number}"], 64 / max(height, width)
        left, top = (64 - int(64 * width // max(height, width))) // 2, (64 - int(64 * height // max(height, width))) // 2
        assert [names[k] for k in target["labels"]] == [kind for kind, *_ in wanted]
        expected = torch.tensor([corners for _, *corners in wanted]).reshape(-1, 4) * scale
        assert torch.allclose(target["boxes"], expected + torch.tensor([left, top, left, top]), atol=1.0)
        assert image.shape == (3, 64, 64)
    assert data.class_counts["dog"] == sum(kind == "dog" for boxes in SPLITS["train"].values() for kind, *_ in boxes)
    images, targets = next(iter(data.val_dataloader()))
    assert images.shape == (4, 3, 64, 64) and len(targets) == 4 and targets[0]["boxes"].shape == (0, 4)


def test_the_formats_give_equal_targets_and_the_storages_too(tmp_path: Path) -> None:
    for kind, write in WRITERS.items():
        write(tmp_path / kind, SPLITS)
    first = load(tmp_path / "voc")
    assert equal(samples(first), samples(load(tmp_path / "yolo")))
    coco = samples(load(tmp_path / "coco"))
    coco = [(image, target | {"labels": target["labels"] - (target["labels"] > 1).long()}) for image, target in coco]
    assert equal(samples(first), coco)  # but for the class that never occurs
    for storage in ("cache", "files"):
        other = load(tmp_path / "voc", storage=storage)
        assert equal(samples(first), samples(other)), storage
        for (images, targets), (others, more) in zip(first.val_dataloader(), other.val_dataloader(), strict=True):
            assert equal(zip(images, targets, strict=True), zip(others, more, strict=True))
