"""Write the digit scenes as files: python -m benchmarks.write_scenes --format coco DIR [--scenes 2000 400 400].

Formats: masks (class numbers), palette and colours are PNG masks beside their images, in train/, val/ and test/; coco,
yolo and voc are boxes, as their own tools lay out the files. All hold the same images under the same names.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from src.datamodules.digit_scenes import CLASS_NAMES, DigitScenesDataModule

NAMES = CLASS_NAMES[1:]  # of the boxes' classes
COLOURS = np.array([(k * 97 % 256, k * 151 % 256, k * 211 % 256) for k in range(len(CLASS_NAMES))], dtype=np.uint8)

Corners = list[list[int]]
Labelled = tuple[str, Corners, list[int]]  # name, corners x1, y1, x2, y2 in pixels, classes from 1


def main(words: list[str] | None = None) -> None:
    """Write all splits in one format."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.write_scenes")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--format", required=True, choices=["masks", "palette", "colours", *BOXES])
    parser.add_argument("--scenes", type=int, nargs=3, default=[2000, 400, 400], metavar="N", help="of each split")
    parser.add_argument("--size", type=int, default=64, help="height and width of a scene in pixels")
    given = parser.parse_args(words)
    write_scenes(given.folder, given.format, given.scenes, given.size)


def write_scenes(root: Path, kind: str, scenes: list[int], size: int = 64) -> None:
    """Compose the scenes and write `scenes` of them for training, validation and test."""
    train, val, test = scenes
    data = DigitScenesDataModule(
        targets="boxes" if kind in BOXES else "masks", image_size=size, num_train=train, num_val=val, num_test=test
    )
    for split, dataset in data.load_splits().items():
        samples: list[Any] = [dataset[k] for k in range(getattr(data, f"num_{split}"))]
        names = [f"{split}_{number:06}" for number in range(len(samples))]
        folder = FOLDERS.get(kind, "{}/images").format(split)
        for name, (image, target) in zip(names, samples, strict=True):
            _save(Image.fromarray(image.permute(1, 2, 0).numpy()), root / folder / f"{name}.png")
            if kind not in BOXES:
                _save(_mask(target.numpy(), kind), root / split / "masks" / f"{name}.png")
        if kind in BOXES:
            targets = [(item["boxes"].int().tolist(), item["labels"].tolist()) for _, item in samples]
            BOXES[kind](root, split, size, [(name, *pair) for name, pair in zip(names, targets, strict=True)])
    if kind == "colours":  # as CVAT writes it
        lines = [f"{name}:{','.join(map(str, COLOURS[k]))}::" for k, name in enumerate(CLASS_NAMES)]
        _write(root / "labelmap.txt", "# label:color_rgb:parts:actions\n" + "\n".join(lines) + "\n")


def _mask(classes: np.ndarray, kind: str) -> Image.Image:
    """Return the mask of class numbers, shape (H, W), as an image."""
    picture = Image.fromarray(COLOURS[classes] if kind == "colours" else classes)
    if kind == "palette":
        picture.putpalette(COLOURS.tobytes())
    return picture


def _write_coco(root: Path, split: str, size: int, scenes: list[Labelled]) -> None:
    images, annotations = [], list[dict[str, Any]]()
    for number, (name, corners, labels) in enumerate(scenes, start=1):
        images.append({"id": number, "file_name": f"{name}.png", "width": size, "height": size})
        for (left, top, right, bottom), label in zip(corners, labels, strict=True):
            width, height = right - left, bottom - top
            box = {"bbox": [left, top, width, height], "area": width * height, "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": label} | box)
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    _write(root / "annotations" / f"instances_{split}2017.json", json.dumps(content))


def _write_yolo(root: Path, split: str, size: int, scenes: list[Labelled]) -> None:
    for name, corners, labels in scenes:
        lines = []
        for (left, top, right, bottom), label in zip(corners, labels, strict=True):
            numbers = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
            lines.append(f"{label - 1} " + " ".join(f"{number / size:.17g}" for number in numbers))
        _write(root / "labels" / split / f"{name}.txt", "".join(f"{line}\n" for line in lines))
    splits = "".join(f"{name}: images/{name}\n" for name in ("train", "val", "test"))
    _write(root / "data.yaml", splits + "names:\n" + "".join(f"  {k}: '{name}'\n" for k, name in enumerate(NAMES)))


def _write_voc(root: Path, split: str, size: int, scenes: list[Labelled]) -> None:
    for name, corners, labels in scenes:
        objects = ""
        for (left, top, right, bottom), label in zip(corners, labels, strict=True):  # the first pixel is 1, 1
            first = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
            box = f"<bndbox>{first}<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>"
            objects += f"<object><name>{NAMES[label - 1]}</name><difficult>0</difficult>{box}</object>"
        sizes = f"<size><width>{size}</width><height>{size}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}.png</filename>{sizes}{objects}</annotation>\n"
        _write(root / "Annotations" / f"{name}.xml", text)
    _write(root / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{name}\n" for name, *_ in scenes))


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


BOXES: dict[str, Callable[[Path, str, int, list[Labelled]], None]] = {
    "coco": _write_coco,
    "yolo": _write_yolo,
    "voc": _write_voc,
}
FOLDERS = {"coco": "{}2017", "yolo": "images/{}", "voc": "JPEGImages"}  # of a split's images

if __name__ == "__main__":
    main()
