import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from trainworks import load_model
from trainworks.datamodules import BoxFilesDataModule
from trainworks.tests.conftest import CONFIGS, Train

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
            x, y = (
                sorted(random.choice(width + 1, 2, replace=False)),
                sorted(random.choice(height + 1, 2, replace=False)),
            )
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
                (
                    NAMES.index(kind),
                    (x1 + x2) / 2 / width,
                    (y1 + y2) / 2 / height,
                    (x2 - x1) / width,
                    (y2 - y1) / height,
                )
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
        write_images(root / "SegmentationClass", [*images][:2])
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(images))
        for number, (name, boxes) in enumerate(images.items()):
            (root / "Annotations" / f"{name}.xml").write_text(voc(boxes, SIZES[number % len(SIZES)]))


WRITERS: dict[str, Callable[[Path, dict[str, Boxes]], None]] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "voc": write_voc,
}
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
        left, top = (
            (64 - int(64 * width // max(height, width))) // 2,
            (64 - int(64 * height // max(height, width))) // 2,
        )
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


def faults(root: Path, **arguments: Any) -> list[str]:
    data = make(root, **arguments)
    data.load_splits()
    return data.faults


def test_faults_of_coco_are_named_and_left_out_where_that_is_allowed(tmp_path: Path) -> None:
    write_coco(tmp_path, SPLITS)
    path = tmp_path / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["images"] += [
        {"id": "7", "file_name": "D:\\photos\\a1_copy.png"},
        {"id": 8, "file_name": "../../elsewhere/b1.png"},  # which is there, but for validation
        {"id": 9, "file_name": "a3.png", "height": "30", "width": "90"},
    ]
    content["images"][1] |= {"id": 101.0, "file_name": "/home/me/coco/train2017/a1.png"}
    content["images"][2] |= {"width": 51}
    Image.new("RGB", (20, 10)).save(tmp_path / "train2017" / "extra.png")
    corners = {
        "w": [5, 5, 0, 9],
        "out": [70, 5, 5, 5],
        "nan": [5, float("nan"), 5, 5],
        "few": [1, 2, 3],
        "cut": [-9, 0, 19, 9],
    }
    boxes = [{"id": name, "image_id": "100", "category_id": 7.0, "bbox": values} for name, values in corners.items()]
    boxes += [
        {"id": 1, "image_id": 100, "category_id": 5, "bbox": [1, 1, 2, 2]},
        {"image_id": 77, "category_id": 3, "bbox": []},
    ]
    boxes += [boxes[0] | {"bbox": [1, 1, 5, 5], "iscrowd": 1, "segmentation": {"counts": "abc", "size": [40, 60]}}]
    write_json(path, content | {"annotations": content["annotations"] + boxes})
    found = faults(tmp_path)
    first = "annotations/instances_train2017.json: box"
    wanted = [
        "instances_train2017.json: train2017/a2.png has 50x50 pixels (upright), not 51x50",
        f"{first} 1 of train2017/a0.png: no width or height at 5, 5, 5, 14 of 60x40 pixels",
        f"{first} 2 of train2017/a0.png: no width or height at 70, 5, 75, 10 of 60x40 pixels",
        f"{first} 3 of train2017/a0.png: no width or height at 5, nan, 10, nan of 60x40 pixels",
        f"{first} 4 of train2017/a0.png: not enough values to unpack",
        f"{first} 6 of train2017/a0.png: '5' is missing or unknown",
        "image D:\\photos\\a1_copy.png is not there",
        "image ../../elsewhere/b1.png is not there",
        "train2017/a3.png stands there twice",
        "boxes of image 77, which is not listed: 1",
    ]
    assert len(found) == len(wanted)
    for text in wanted:
        assert any(text in line for line in found), (text, found)
    with pytest.raises(ValueError, match=r"(?s)^10 faults:.*write data.skip_unreadable true to leave them out$"):
        load(tmp_path)
    data = load(tmp_path, skip_unreadable=True)
    assert len(samples(data)) == 8
    assert torch.allclose(samples(data)[0][1]["boxes"], torch.tensor([[0, 11, 10 * 64 / 60, 11 + 9 * 42 / 40]]))
    said = data.describe()
    lines = [
        "boxes that reach out of their image, cut off there: 1 (box 5 of train2017/a0.png "
        "(-9, 0, 10, 9 of 60x40 pixels))",
        "crowds or difficult boxes, left out: 1",
        "images in no annotations, left out: 1 (train2017/extra.png)",
        "left out, 10 faults:",
    ]
    assert "\n".join(lines) in said


def test_faults_of_yolo_and_voc_are_named(tmp_path: Path) -> None:
    write_yolo(tmp_path / "yolo", SPLITS)
    labels = tmp_path / "yolo" / "labels" / "train"
    lines = [
        "0 0.5 0.5 0.2 0.2 0.9",
        "1 .1 .1 .5 .1 .5 .6",
        "3 .5 .5 .1 .1",
        "0 1 2 3",
        "x .5 .5 .1 .1",
        "2 200 100 50 50",
    ]
    (labels / "a0.txt").write_text("\n\n".join(lines))
    (labels / "a1.txt").unlink()  # an image without objects
    where = "labels/train/a0.txt: box {} of images/train/a0.png: "
    assert faults(tmp_path / "yolo") == [
        where.format(3) + "there is no class 3; names has 0, 1, 2",
        where.format(4) + "expected a class and four numbers or a polygon, got '0 1 2 3'",
        where.format(5) + "could not convert string to float: 'x'",
        where.format(6) + "expected shares of width and height from 0 to 1, got '2 200 100 50 50'",
    ]
    target = samples(load(tmp_path / "yolo", skip_unreadable=True))[0][1]
    scale = 64 / 60
    expected = torch.tensor([[24, 16, 36, 24], [6, 4, 30, 24]]) * scale + torch.tensor([0, 11, 0, 11])
    assert target["labels"].tolist() == [1, 2] and torch.allclose(target["boxes"], expected, atol=0.5)
    write_voc(tmp_path / "voc", SPLITS)
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><annotation>&d;</annotation>'
    (tmp_path / "voc" / "Annotations" / "a0.xml").write_text(bomb)
    (tmp_path / "voc" / "Annotations" / "a1.xml").write_text(bomb, encoding="utf-16")
    (tmp_path / "voc" / "Annotations" / "a2.xml").write_text("<annotation>")
    (tmp_path / "voc" / "Annotations" / "a3.xml").unlink()
    found = faults(tmp_path / "voc")
    assert ["DOCTYPE" in line for line in found] == [True, True, False]
    data = load(tmp_path / "voc", skip_unreadable=True)
    assert "images in no annotations, left out: 8 (JPEGImages/a0.png, " in data.describe()


def test_exports_of_other_tools_are_found(tmp_path: Path) -> None:
    train, valid = SPLITS["train"], SPLITS["val"]
    for split, images in {"train": train, "valid": valid}.items():  # Roboflow's
        for kind in ("coco", "voc"):
            write_images(tmp_path / f"robo_{kind}" / split, [*images])
        write_json(tmp_path / "robo_coco" / split / "_annotations.coco.json", coco(images))
        for number, (name, boxes) in enumerate(images.items()):
            (tmp_path / "robo_voc" / split / f"{name}.xml").write_text(voc(boxes, SIZES[number % len(SIZES)]))
    write_yolo(tmp_path / "robo_yolo", SPLITS)
    (tmp_path / "robo_yolo" / "train").mkdir()
    for kind in ("images", "labels"):
        (tmp_path / "robo_yolo" / kind / "train").rename(tmp_path / "robo_yolo" / "train" / kind)
    names = "{" + ", ".join(f"{number}: {name}" for number, name in enumerate(NAMES)) + "}"
    (tmp_path / "robo_yolo" / "data.yaml").write_text(f"train: ../train/images\nval: [images/val]\nnames: {names}\n")
    first = samples(load(tmp_path / "robo_voc"))
    assert equal(first, samples(load(tmp_path / "robo_yolo"))) and len(samples(load(tmp_path / "robo_coco"))) == 9
    (tmp_path / "robo_yolo" / "data.yaml").write_text(f"train: train\nval: images/val\nnames: {names}\n")
    assert equal(first, samples(load(tmp_path / "robo_yolo")))
    write_images(tmp_path / "studio" / "images", [*train])  # Label Studio's, which have no splits
    write_json(tmp_path / "studio" / "result.json", coco(train))
    write_yolo(tmp_path / "plain", {"train": train})
    (tmp_path / "plain" / "data.yaml").unlink()
    (tmp_path / "plain" / "classes.txt").write_text("\ufeffcat\ndog\nowl\n")
    assert sorted(make(tmp_path / "studio").load_splits()) == ["all"]
    assert equal(samples(load(tmp_path / "plain", val_fraction=0.0)), first)
    (tmp_path / "plain" / "classes.txt").rename(tmp_path / "plain" / "obj.names")  # CVAT's YOLO 1.1
    assert equal(samples(load(tmp_path / "plain", val_fraction=0.0)), first)
    write_voc(tmp_path / "cvat_voc", SPLITS)
    for split, name in {"train": "Train", "val": "Validation"}.items():  # CVAT's own subsets
        path = tmp_path / "cvat_voc" / "ImageSets" / "Main" / f"{split}.txt"
        path.rename(path.with_name(f"{name}.txt"))
    assert equal(samples(load(tmp_path / "cvat_voc")), first)
    write_yolo(tmp_path / "cvat", {"train": train})
    (tmp_path / "cvat" / "data.yaml").write_text(f"path: .\ntrain: train.txt\nnames: {NAMES}\n")
    (tmp_path / "cvat" / "train.txt").write_text(
        "".join(f"data/images/train/{name}.png\n" for name in [*train, "gone"])
    )
    listed = load(tmp_path / "cvat", val_fraction=0.0, skip_unreadable=True)
    assert equal(samples(listed), first)
    assert listed.faults == ["data.yaml: image data/images/train/gone.png is not there"]
    write_json(tmp_path / "mine" / "b.json", coco(train))
    write_images(tmp_path / "mine" / "pictures", [*train])
    write_json(tmp_path / "mine" / "c.json", coco(train))
    with pytest.raises(
        ValueError, match=r"of which split is which: b.json, c.json\? Write --data.annotations.train FILE"
    ):
        make(tmp_path / "mine").load_splits()
    named = make(tmp_path / "mine", annotations={"train": str(tmp_path / "mine" / "c.json"), "test": "b.json"})
    assert sorted(named.load_splits()) == ["test", "train"] and not named.faults


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.json",
            '{"version": "5.4", "flags": {}, "shapes": []}',
            "a.json: is labelme's own; convert its files to COCO",
        ),
        (
            "a.json",
            ' [{"id": 1, "annotations": []}]',
            "a.json: is a list, as Label Studio's own files are; export COCO",
        ),
        ("a.xml", '<?xml version="1.0"?>\n<annotations>', "a.xml: is CVAT's own; export COCO 1.0, Ultralytics YOLO"),
        ("a.json", "{", r"a.json: cannot be read as annotations: Expecting property name"),
        ("a.json", '{"images": []}', "a.json: cannot be read as annotations: 'categories' is missing or unknown"),
        ("a.json", "[" * 10**5, "is a list"),
        ("a.json", '{"images":' + "[" * 10**5, "a.json: cannot be read as annotations: maximum recursion depth"),
        ("data.yaml", "names: [a, b", "data.yaml: cannot be read as annotations: while parsing a flow sequence"),
        (
            "notes.md",
            "",
            "no names of YOLO .data.yaml, classes.txt, obj.names., .json or .xml; it has 1 images and texts: a",
        ),
        ("data.yaml", "names: [a]", "no boxes to train on"),
        ("data.yaml", "names: {a: 1}", "data.yaml: cannot be read as annotations: invalid literal for int"),
        ("data.yaml", "nc: 3", "no names of YOLO"),
    ],
)
def test_what_is_no_annotation_gets_one_message(tmp_path: Path, name: str, content: str, message: str) -> None:
    write_images(tmp_path, ["a"])
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        make(tmp_path).load_splits()


class OneBox(nn.Module):
    """A detector that finds the same box in every image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: Any, targets: Any = None) -> Any:
        if self.training:
            return {"loss": self.weight**2}
        found = {"boxes": [[0.0, 11.0, 32.0, 32.0]], "scores": [0.9], "labels": [3]}
        return [{name: torch.tensor(values) for name, values in found.items()} for _ in images]


def test_results_are_in_pixels_of_the_original_image(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_coco(tmp_path / "data", SPLITS | {"test": SPLITS["val"]})
    words = ["--config", str(CONFIGS / "detection.yaml"), "--data", "trainworks.datamodules.BoxFilesDataModule"]
    words += ["--data.root", "data", "--data.image_size", "64", "--model.net", f"{__name__}.OneBox"]
    words += ["--data.batch_size", "4", "--callbacks.figures", "null", "--callbacks.notes", "null"]
    result = train(*words, "--trainer.max_epochs", "1", "--run_name", "a")
    assert (result.code, result.err) == (0, "")
    assert "10 boxes" not in result.out and "; 4 classes: cat" in result.out
    expected = [
        [0, 0, 30, 20],
        [0, 11, 16, 32],
        [0, 8.59, 25, 25],
        [0, 0, 45, 15],
    ]  # of sizes 60x40, 32x64, 50x50, 90x30
    run = Path("logs/detection/a")
    with (run / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["f1"] for row in rows} <= {"0.0", "0.5", "0.6666666666666666", "1.0"}
    assert [row["input"] for row in rows] == [f"test2017/b{k}.png" for k in range(4)]
    for row, corners in zip(rows, expected, strict=True):
        assert json.loads(row["boxes"])[0] == pytest.approx(corners, abs=1.0)
    truth = json.loads(rows[2]["target"].replace("'", '"'))  # in the image of 50x50 pixels
    assert truth["labels"] == [kind for kind, *_ in SPLITS["val"]["b2"]]
    assert np.allclose(truth["boxes"], [corners for _, *corners in SPLITS["val"]["b2"]], atol=1e-4)
    last = str(run / "checkpoints" / "last.ckpt")
    for more, numbers in ([], [100, 101, 102, 103]), (["--input", "data/test2017"], [0, 1, 2, 3]):
        result = train("predict", *words, "--ckpt_path", last, "--output", "out.csv", *more)
        assert (result.code, result.err) == (0, "")
        content = json.loads(Path("out.coco.json").read_text())
        assert content["categories"][2] == {"id": 7, "name": "dog"} and len(content["categories"]) == 4
        assert [image["id"] for image in content["images"]] == numbers
        assert [(box["image_id"], box["category_id"]) for box in content["annotations"]] == [(k, 7) for k in numbers]
        for box, (x1, y1, x2, y2) in zip(content["annotations"], expected, strict=True):
            assert box["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=1.0)
    model = load_model(last)
    images = [Image.open(f"data/test2017/b{k}.png") for k in range(4)]
    for given in images, [f"data/test2017/b{k}.png" for k in range(4)], [np.asarray(image) for image in images]:
        found = model.predict(given)
        assert [item.labels for item in found] == [["dog"]] * 4
        assert [item.image().size for item in found] == [image.size for image in images]  # they know their images
        assert all(
            item.boxes[0].tolist() == pytest.approx(row, abs=1.0) for item, row in zip(found, expected, strict=True)
        )


def test_other_data_gets_the_labels_that_were_learned(tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": {"a0": [("owl", 0, 0, 9, 9)], "a1": [("ant", 0, 0, 9, 9), ("cat", 1, 1, 9, 9)]}})
    data = make(tmp_path, class_names=["background", *NAMES], val_fraction=0.0, skip_unreadable=True)
    data.setup("fit")
    assert [target["labels"].tolist() for _, target in samples(data)] == [[3], [1]]
    assert data.faults == ["Annotations/a1.xml: box 1 of JPEGImages/a1.png: 'ant' is missing or unknown"]
