import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.callbacks.training_images import TrainingImages
from trainworks.testing import PLAIN, Train

FIT = ("fit", "--config", "plain.yaml", *PLAIN, "--run_name", "a")


def test_images_show_what_was_trained_on(train: Train) -> None:
    assert train(*FIT).code == 0
    events = EventAccumulator("logs/plain/a").Reload()
    assert events.Tags()["images"] == ["samples/train"]
    (event,) = events.Images("samples/train")
    grid = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
    assert grid.shape == (8 * 66 + 2, 8 * 66 + 2, 3)  # 64 images of 8x8, enlarged
    assert (grid[..., 0] == grid[..., 1]).all() and grid.min() == 0 and grid.max() > 240


class ImageLogger(CSVLogger):
    """Takes images as the logger of Weights & Biases does."""

    def log_image(self, key: str, images: list[Any], step: int) -> None:
        with Path(self.log_dir, "images.txt").open("a") as file:
            file.write(f"{key} {type(images[0]).__name__} {step}\n")


def test_other_loggers_get_the_picture(train: Train, tmp_path: Path) -> None:
    board = {"class_path": "TensorBoardLogger", "init_args": {"save_dir": ".", "name": "", "version": ""}}
    images = {"class_path": f"{__name__}.ImageLogger", "init_args": {"save_dir": "csv"}}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({"trainer": {"logger": [board, images]}}))
    result = train(*FIT, "--config", "two.yaml")
    assert (result.code, result.err) == (0, "")
    lines = Path("logs/plain/a/csv/lightning_logs/version_0/images.txt").read_text().splitlines()
    assert "samples/train ndarray" in {" ".join(line.split()[:2]) for line in lines}


def test_numbers_out_of_range() -> None:
    with pytest.raises(ValueError, match="num_images must be at least 1, got 0"):
        TrainingImages(num_images=0)
