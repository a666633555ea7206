"""Photographs of one's own with masks or boxes train as docs/data.md and docs/tasks.md say."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from trainworks.testing import ROOT, Train, write_images

SEGMENTATION, DETECTION = (str(ROOT / f"configs/{name}.yaml") for name in ("segmentation", "detection"))
PYRAMID = ("--model.net.backbone.widths", "[8, 16, 16]", "--model.net.backbone.out_channels", "32")


def write_voc(root: Path) -> None:
    """Photographs of any size with a bright disc, and masks that say where it is, in the form of PASCAL VOC."""
    base = root / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (base / folder).mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(24):
        height, width = random.integers(36, 60, 2)
        y, x = np.ogrid[:height, :width]
        distance = np.hypot(y - random.integers(10, 26), x - random.integers(10, 26))
        mask = np.where(distance < 10, 1, np.where(distance < 12, 255, 0)).astype(np.uint8)  # 255: the border
        pixels = random.integers(0, 100, (height, width, 3)) + 150 * (mask[..., None] == 1)
        Image.fromarray(pixels.astype(np.uint8)).save(base / "JPEGImages" / f"{index}.jpg")
        Image.fromarray(mask).save(base / "SegmentationClass" / f"{index}.png")
    for name, names in (("train", range(16)), ("val", range(16, 24))):
        (base / "ImageSets/Segmentation" / f"{name}.txt").write_text("\n".join(map(str, names)))


VOC = """
data:
  class_path: trainworks.datamodules.VisionDataModule
  init_args: {root: voc, num_classes: 2, image_size: 32, batch_size: 8, num_workers: 0,
    train_dataset: {class_path: &voc torchvision.datasets.VOCSegmentation, init_args: {image_set: train}},
    val_dataset: &val {class_path: *voc, init_args: {image_set: val}}, test_dataset: *val,
    sample_transform: [
      {class_path: torchvision.transforms.v2.RandomResizedCrop, init_args: {size: 40, scale: [0.6, 1]}}],
    eval_transform: [&scale
      {class_path: torchvision.transforms.v2.ToDtype, init_args: {dtype: torch.float32, scale: true}}],
    train_transform: [{class_path: trainworks.datamodules.transforms.RandomShift, init_args: {pixels: 8}}, *scale]}
"""


@pytest.mark.long
@pytest.mark.filterwarnings(  # torchvision leaves the files of masks to the garbage collector
    "ignore:unclosed file:ResourceWarning", "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)
def test_a_folder_of_images_with_masks_through_a_config(train: Train, tmp_path: Path) -> None:
    """Random transforms move the masks with the images, or it could not be learned."""
    write_voc(tmp_path / "voc")
    (tmp_path / "voc.yaml").write_text(VOC)
    words = ("--model.net.widths", "[8, 16]", "--model.optimizer.lr", "0.02", "--trainer.max_epochs", "12")
    result = train("--config", SEGMENTATION, "--config", "voc.yaml", *words, "--trainer.log_every_n_steps", "1")
    assert (result.code, result.err) == (0, "")
    assert float(re.findall(r"test/miou +(\S+)", result.out)[0]) > 0.8


def write_coco(root: Path) -> None:
    """Photographs of any size with bright rectangles, some with none, and where these are, in the form of COCO."""
    root.mkdir()
    random = np.random.default_rng(0)
    images, boxes = [], []
    for index in range(12):
        height, width = (int(side) for side in random.integers(40, 64, 2))
        pixels = random.integers(0, 100, (height, width, 3), dtype=np.uint8)
        if index % 4:
            x, y = (int(corner) for corner in random.integers(0, 20, 2))
            pixels[y : y + 16, x : x + 12] = 255
            box = {"bbox": [x, y, 12, 16], "category_id": 3, "area": 192, "iscrowd": 0}
            boxes.append({"id": index + 1, "image_id": index, **box})
        Image.fromarray(pixels).save(root / f"{index}.png")
        images.append({"id": index, "file_name": f"{index}.png", "height": height, "width": width})
    categories = [{"id": 3, "name": "thing"}]
    (root / "boxes.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))


COCO = """
model: {init_args: {net: {init_args: {min_size: 64, max_size: 64}}}}
data:
  class_path: trainworks.datamodules.VisionDataModule
  init_args:
    {root: coco, num_classes: 4, batch_size: 4, num_workers: 0, collate: trainworks.datamodules.transforms.KeepLists,
     train_dataset: &coco {class_path: torchvision.datasets.CocoDetection, init_args: {annFile: coco/boxes.json}},
     val_dataset: *coco, test_dataset: *coco, eval_transform: [
       &scale {class_path: torchvision.transforms.v2.ToDtype, init_args: {dtype: torch.float32, scale: true}}],
     train_transform: [{class_path: trainworks.datamodules.transforms.PerSample,
       init_args: {transforms: [torchvision.transforms.v2.RandomHorizontalFlip]}}, *scale]}
"""


@pytest.mark.long
def test_a_folder_of_images_with_boxes_through_a_config(train: Train, tmp_path: Path) -> None:
    write_coco(tmp_path / "coco")
    (tmp_path / "coco.yaml").write_text(COCO)
    words = (*PYRAMID, "--trainer.max_epochs", "12", "--trainer.log_every_n_steps", "1", "--model.optimizer.lr", "0.01")
    result = train("--config", DETECTION, "--config", "coco.yaml", *words)
    assert (result.code, result.err) == (0, "")
    assert float(re.findall(r"test/map_50 +(\S+)", result.out)[0]) > 0.5


@pytest.mark.long
def test_images_with_labels_in_columns_as_the_page_says(train: Train, tmp_path: Path) -> None:
    page = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    (labels,) = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.S) if "MultilabelModule" in block]
    commands = re.findall(r"```bash\npython train.py (.*?)```", page, re.S)
    (command,) = [block for block in commands if "pos_weight" in block]
    (tmp_path / "labels.yaml").write_text(labels)
    write_images(tmp_path / "a", 60)
    table = "".join(f"a/{k:03}.jpg,{k % 2},{(k + 1) % 2},{int(k % 3 == 0)},{int(k % 10 == 0)}\n" for k in range(60))
    (tmp_path / "t.csv").write_text(f"path,animal,wheels,wings,frog\n{table}")
    words = shlex.split(command.replace("\\\n", "").replace("DIR", ".").replace("FILE", "t.csv"))
    words[1] = str(ROOT / words[1])
    result = train(*words, "--data.image_size", "16", "--trainer.max_epochs", "1", "--run_name", "a")
    assert (result.code, result.err) == (0, "")
    assert "4 labels: animal 2" in result.out and "test/ap" in result.out
    weights = yaml.safe_load(Path("logs/image_folder/a/config.yaml").read_text())["data"]["init_args"]["pos_weight"]
    assert weights[3] > 5 and weights[0] == pytest.approx(1, abs=0.3)
