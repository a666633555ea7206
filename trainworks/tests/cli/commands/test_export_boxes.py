"""export of a detector: the boxes of `predict`, for images of any size."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainworks.cli.exporting.compare import box_gaps, detections_of, difference, loaded
from trainworks.models import load_model
from trainworks.tests.conftest import CONFIGS, PLAIN, Train
from trainworks.tests.datamodules.test_box_files import SPLITS, write_coco

pytest.importorskip("onnxruntime")


@pytest.mark.long
def test_a_file_finds_the_boxes_of_predict(train: Train, tmp_path: Path) -> None:
    write_coco(tmp_path / "data", SPLITS)
    words = ["--config", str(CONFIGS / "detection.yaml"), "--data", "trainworks.datamodules.BoxFilesDataModule"]
    to_float = "[{class_path: torchvision.transforms.v2.ToDtype, init_args: {dtype: torch.float32, scale: true}}]"
    words += [
        "--data.train_transform",
        to_float,
        "--data.eval_transform",
        to_float,
        "--data.root",
        "data",
        "--data.image_size",
        "64",
        "--data.batch_size",
        "4",
        *PLAIN,
    ]
    words += ["--model.metrics", "{map: torchmetrics.detection.MeanAveragePrecision}", "--model.train_metrics", "false"]
    assert train("fit", *words, "--trainer.max_epochs", "2", "--run_name", "a").code == 0
    path = Path("logs/detection/a/checkpoints/best.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    torch.save(checkpoint | {"threshold": 0.22}, path)  # of a network that is sure of nothing
    result = train("export", "--ckpt_path", str(path), "--format", "all", "--latency", "false")
    assert (result.code, result.err) == (0, "")
    assert "greatest difference " in result.out and " pixels of a box over " in result.out
    assert "difference to predict over 4 files of the data" in result.out
    with path.with_name("best_export.csv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert rows["best.onnx"]["val/map"] == rows["module"]["val/map"] != ""

    model, total = load_model(path), 0
    with torch.no_grad():
        example = model.outputs(torch.zeros(1, 3, 64, 64))
    for height, width in ((64, 64), (50, 80), (90, 40), (61, 63), (100, 100), (33, 47)):
        noise = np.random.default_rng(height).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        image = Image.fromarray(noise).resize((width, height))
        result = model.predict(image)
        labels = [model.class_names.index(label) for label in result.labels]  # type: ignore[union-attr]
        expected = {"boxes": result.boxes, "labels": labels, "scores": result.scores}
        total += len(labels)
        for kind in (".onnx", ".pt2"):
            pixels = torch.from_numpy(np.array(image).transpose(2, 0, 1)[None])
            with torch.no_grad():
                (found,) = detections_of(loaded(path.with_suffix(kind), example)(pixels))
            assert max([*box_gaps(found, expected, 0.22), *box_gaps(expected, found, 0.22)], default=0) < 0.5, (
                height,
                width,
                kind,
            )
    assert total > 20


def test_boxes_are_compared_in_any_order() -> None:
    boxes = torch.tensor([[[0.0, 0, 4, 4], [9, 9, 20, 20], [0, 0, 0, 0]]])
    one = {"boxes": boxes, "labels": torch.tensor([[1, 2, 0]]), "scores": torch.tensor([[0.9, 0.8, 0]])}
    one |= {"count": torch.tensor([2])}
    order = [1, 0, 2]
    other = {key: part[:, order] if part.ndim > 1 else part for key, part in one.items()}
    other["boxes"] = other["boxes"] + torch.tensor([0.25, 0, 0, 0])
    assert difference(other, one) == 0.25
    other["labels"] = other["labels"].flip(1)
    assert difference(other, one) == float("inf")
    fewer = one | {"count": torch.tensor([1])}
    assert difference(fewer, one) == float("inf") and difference(fewer, one, threshold=0.7995) == 0.0
