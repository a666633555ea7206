from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainworks.tests.conftest import CONFIGS, DIGITS, Train, write_images

FOLDER = str(CONFIGS / "image_folder.yaml")
ARRAYS = str(CONFIGS / "arrays.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        write_images(tmp_path / "data" / name, 8, (40, 30))
    return tmp_path / "data"


def test_good_data_has_no_problems(train: Train, folder: Path, tmp_path: Path) -> None:
    result = train("check", "--config", FOLDER, "--data.root", str(folder), "--data.val_fraction", "0.25")
    assert (result.code, result.err) == (0, "")
    assert "train: 12 images, width 40 to 40 (median 40), height 30 to 30 (median 30); each is made 64x64" in result.out
    assert result.out.splitlines()[-1] == "no problems"
    table = [line.split() for line in result.out.splitlines()]
    assert ["class", "train", "val", "test", "share", "of", "train"] in table
    assert ["dog", "6", "2", "8", "50.0%"] in table
    assert not (tmp_path / "logs").exists()


def test_every_problem_is_reported_at_once(train: Train, folder: Path) -> None:
    (folder / "train/cat/001.jpg").write_bytes(b"")
    broken = folder / "test/dog/002.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    (folder / "train/dog/003.jpg").write_bytes(b"no image")
    (folder / "test/cat/000.jpg").write_bytes((folder / "train/cat/000.jpg").read_bytes())
    (folder / "train/emu").mkdir()
    Image.new("L", (300, 20)).save(folder / "train/cat/grey.png")
    Image.new("CMYK", (40, 30)).save(folder / "train/cat/print.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(folder / "train/dog/turned.jpg", exif=exif)
    result = train("check", "--config", FOLDER, "--data.root", str(folder), "--data.val_fraction", "0")
    assert result.code == 1
    assert "Traceback" not in result.out + result.err
    for text in (
        "5 problems:",
        "train/cat/001.jpg: cannot be read as an image: the file is empty",
        "train/dog/003.jpg: cannot be read as an image: cannot identify image file",
        "test/dog/002.jpg: cannot be read as an image:",
        "test: test/cat/000.jpg is the same file as train: train/cat/000.jpg",
        "train: class emu is empty",
        "3 notes:",
        "train: 1 images of mode L, made RGB",
        "train: 1 images of mode CMYK, made RGB",
        "train: 1 images turned upright by their EXIF data",
        "train: 17 images, width 30 to 300 (median 40), height 20 to 40 (median 30)",
    ):
        assert text in result.out, result.out
    result = train("--config", FOLDER, "--data.root", str(folder))  # what check found, training finds too
    assert result.code == 2
    assert "no images" in result.err and "of class emu" in result.err


def test_arrays_are_looked_through_for_numbers_that_are_none(train: Train, tmp_path: Path) -> None:
    inputs = np.ones((40, 3), dtype=np.float32)
    inputs[7, 1], inputs[9, 0] = np.nan, np.inf
    np.savez(tmp_path / "a.npz", inputs=inputs, targets=np.arange(40) % 2)
    words = ("--data.train", "a.npz", "--data.val_fraction", "0", "--data.test_fraction", "0")
    result = train("check", "--config", ARRAYS, *words)
    assert result.code == 1
    assert "train: sample 7 holds NaN or infinite values" in result.out
    assert "2 problems:" in result.out
    assert "train: 40 samples, 40 of shape 3" in result.out


def test_labels_out_of_range(train: Train) -> None:
    result = train("check", "--config", DIGITS, "--data.num_classes", "8")
    assert result.code == 1
    assert "train: data.num_classes is 8, but the labels go from 0 to 9; write 10" in result.out


def test_mistakes(train: Train) -> None:
    assert "no --config given" in train("check", "--data.root", "x").err
    assert "check takes no --ckpt_path" in train("check", "--config", DIGITS, "--ckpt_path", "x").err
    assert "data.root nowhere: no such folder" in train("check", "--config", FOLDER, "--data.root", "nowhere").err
