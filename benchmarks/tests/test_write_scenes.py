"""The digit scenes as files hold what the datamodule holds."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.write_scenes import COLOURS, main
from src.datamodules.digit_scenes import CLASS_NAMES, DigitScenesDataModule
from trainworks.testing import PLAIN, ROOT, Train


@pytest.mark.parametrize("kind", ["masks", "palette", "colours"])
def test_masks_are_the_scenes(tmp_path: Path, kind: str) -> None:
    main([str(tmp_path), "--format", kind, "--scenes", "2", "1", "1"])
    data = DigitScenesDataModule(targets="masks", num_train=2, num_val=1, num_test=1)
    for split, dataset in data.load_splits().items():
        files = sorted((tmp_path / split / "masks").iterdir())
        assert len(files) == (2 if split == "train" else 1)
        for number, file in enumerate(files):
            image, mask = dataset[number]
            assert (
                np.asarray(Image.open(tmp_path / split / "images" / file.name)) == image.numpy().T.swapaxes(0, 1)
            ).all()
            wanted = COLOURS[mask.numpy()] if kind == "colours" else mask.numpy()
            assert (np.asarray(Image.open(file)) == wanted).all()
    if kind == "colours":
        assert len(np.unique(COLOURS, axis=0)) == len(CLASS_NAMES)
        assert (tmp_path / "labelmap.txt").read_text().splitlines()[2] == "0:97,151,211::"


def test_boxes_are_the_scenes_in_each_format(tmp_path: Path) -> None:
    for kind in ("coco", "yolo", "voc"):
        main([str(tmp_path / kind), "--format", kind, "--scenes", "2", "1", "1"])
    target = DigitScenesDataModule(targets="boxes", num_train=2, num_val=1, num_test=1).load_splits()["train"][1][1]
    wanted = [[int(k) - 1, *box] for k, box in zip(target["labels"], target["boxes"].tolist(), strict=True)]
    content = json.loads((tmp_path / "coco" / "annotations" / "instances_train2017.json").read_text())
    boxes = [item for item in content["annotations"] if item["image_id"] == content["images"][1]["id"]]
    found = [(item["category_id"] - 1, *item["bbox"]) for item in boxes]
    assert [[k, x, y, x + width, y + height] for k, x, y, width, height in found] == wanted
    rows = np.loadtxt(tmp_path / "yolo" / "labels" / "train" / "train_000001.txt", ndmin=2)
    centre, half = rows[:, 1:3] * 64, rows[:, 3:] * 32
    assert np.hstack([rows[:, :1], centre - half, centre + half]).tolist() == wanted
    tree = ElementTree.parse(tmp_path / "voc" / "Annotations" / "train_000001.xml")
    corners = [
        [int(item.findtext(f"bndbox/{name}", "")) for name in ("xmin", "ymin", "xmax", "ymax")]
        for item in tree.iter("object")
    ]
    assert [
        [k, x - 1, y - 1, right, bottom] for (k, *_), (x, y, right, bottom) in zip(wanted, corners, strict=True)
    ] == wanted
    images = [
        tmp_path / name / "train_000001.png" for name in ("coco/train2017", "yolo/images/train", "voc/JPEGImages")
    ]
    assert len({file.read_bytes() for file in images}) == 1


@pytest.mark.long
def test_the_formats_give_the_same_weights(train: Train, tmp_path: Path) -> None:
    weights = []
    for kind in ("coco", "voc", "yolo"):
        main([str(tmp_path / kind), "--format", kind, "--scenes", "16", "4", "4"])
        words = ("--data.root", kind, "--data.image_size", "64", "--data.batch_size", "8", "--trainer.max_epochs", "1")
        result = train("--config", str(ROOT / "configs" / "boxes.yaml"), *words, *PLAIN, "--run_name", kind)
        assert (result.code, result.err) == (0, "")
        path = tmp_path / "logs" / "boxes" / kind / "checkpoints" / "last.ckpt"
        weights.append(torch.load(path, weights_only=True)["state_dict"])
    for other in weights[1:]:
        assert all(torch.equal(weights[0][name], other[name]) for name in weights[0])
