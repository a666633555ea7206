from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from PIL import Image
from torch.utils.data import Dataset
from torchvision import tv_tensors

from trainworks.models.colors import color_of
from trainworks.tests.conftest import CONFIGS, DIGITS, Train, write_images

FOLDER = str(CONFIGS / "image_folder.yaml")
ARRAYS = str(CONFIGS / "arrays.yaml")
VISION = ("--data", "trainworks.datamodules.VisionDataModule", "--data.root", ".")


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


def test_statistics_are_those_of_the_training_images(train: Train, folder: Path) -> None:
    words = ("check", "--data.root", str(folder), "--data.val_fraction", "0", "--statistics", "true")
    result = train(*words, "--config", FOLDER, "--data.image_size", "30")
    pixels = [np.asarray(Image.open(path))[:, 5:35] / 255 for path in (folder / "train").glob("*/*.jpg")]
    (line,) = [line for line in result.out.splitlines() if "mean" in line]
    (found,) = [step["init_args"] for step in yaml.safe_load("\n".join(result.out.splitlines()[-2:]))]
    assert np.allclose(found["mean"], np.mean(pixels, axis=(0, 1, 2)), rtol=1e-3)
    assert np.allclose(found["std"], np.std(pixels, axis=(0, 1, 2)), rtol=1e-3)
    table = train(*words[:1], "--config", ARRAYS, "--data.train", str(folder / "none.npz"), *words[-2:])
    assert (result.code, table.code, line[:2]) == (0, 2, "  ")


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
    wanted = "train: classes that are no whole numbers from 0 to 7 (num_classes is 8): sample 18: 8, sample 19: 9, "
    assert wanted in result.out


def test_a_file_of_two_classes(train: Train, folder: Path) -> None:
    for name in ("train/dog/x.jpg", "train/cat/x.jpg"):  # within a class it is no contradiction
        (folder / name).write_bytes((folder / "train/cat/000.jpg").read_bytes())
    result = train("check", "--config", FOLDER, "--data.root", str(folder), "--data.val_fraction", "0")
    assert result.code == 1
    wanted = "train: train/dog/x.jpg is the same file as train: train/cat/000.jpg, of another class"
    assert f"1 problem:\n  {wanted}\n" in result.out


def masks(value: int = 1, size: int = 8) -> np.ndarray:
    made = np.zeros((40, 8, 8), dtype=np.uint8)
    made[:, 2:6, 2:4] = value
    return made[:, :size]


ONLY_TRAIN = ("--data.val_fraction", "0", "--data.test_fraction", "0")
MASKS: dict[str, tuple[np.ndarray, list[str]]] = {  # and the problems that are found
    "classes": (masks(), []),
    "classes in one channel": (masks()[:, None], []),
    "what torch leaves out": (np.where(np.arange(8) < 1, -100, masks().astype(int)), []),
    "white objects": (
        masks(255),
        [
            "train: class 1 has no pixels",
            "masks hold 0 and 255 alone, and 255 is left out (ignore_index): objects do not count; "
            "make them 0 and 1 in the dataset",
        ],
    ),
    "grey objects": (
        masks(127),
        [
            "train: values of masks that are no whole numbers from 0 to 1 (num_classes is 2): sample 0: 127, "
            "sample 1: 127, sample 2: 127 and 37 more (40 of 40 samples)",
            "train: class 1 has no pixels",
        ],
    ),
    "images of them": (
        masks() / 255,
        [
            "train: values of masks that are no whole numbers from 0 to 1 (num_classes is 2): sample 0: 0.00392157, "
            "sample 1: 0.00392157, sample 2: 0.00392157 and 37 more (40 of 40 samples)",
            "train: class 1 has no pixels",
        ],
    ),
    "nothing that counts": (
        np.where(np.arange(64).reshape(8, 8) < 4, masks(), 255),
        [
            "train: class 1 has no pixels",
            "train: 93.8% of the pixels are left out (they are 255)",
            "masks hold 0 and 255 alone, and 255 is left out (ignore_index): objects do not count; "
            "make them 0 and 1 in the dataset",
        ],
    ),
    "half of the size": (
        masks(size=4),
        [
            "train: masks of another size than their images: sample 0: 4x8, not 8x8, sample 1: 4x8, not 8x8, "
            "sample 2: 4x8, not 8x8 and 37 more (40 of 40 samples)"
        ],
    ),
    "colours": (
        np.stack([masks(), masks(0), masks(0)], axis=1),
        [
            "train: masks must have the shape (H, W) or (1, H, W); make a class of each colour in the dataset: "
            "sample 0: (3, 8, 8), sample 1: (3, 8, 8), sample 2: (3, 8, 8) and 37 more (40 of 40 samples)"
        ],
    ),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks(train: Train, tmp_path: Path, kind: str) -> None:
    targets, problems = MASKS[kind]
    np.savez(tmp_path / "a.npz", inputs=np.zeros((40, 3, 8, 8), dtype=np.uint8), targets=targets)
    data = ("--data", "trainworks.datamodules.ArrayDataModule", "--data.train", "a.npz", *ONLY_TRAIN)
    result = train("check", "--config", str(CONFIGS / "segmentation.yaml"), *data, "--data.num_classes", "2")
    assert (result.code, result.err) == (1 if problems else 0, "")
    assert [line[2:] for line in result.out.splitlines() if line.startswith("  ")] == problems
    if not problems:
        shares = ["75.00%", "12.50%", "12.50%"] if kind == "what torch leaves out" else ["87.50%", "12.50%", "0.00%"]
        assert [line.split()[-1] for line in result.out.splitlines() if line.endswith("%")] == shares


def test_the_value_that_is_left_out_is_the_one_of_the_configuration(train: Train, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", inputs=np.zeros((40, 3, 8, 8), dtype=np.uint8), targets=masks(9))
    data = ("--data", "trainworks.datamodules.ArrayDataModule", "--data.train", "a.npz", *ONLY_TRAIN)
    words = (*data, "--data.num_classes", "2", "--model.loss.ignore_index", "9")
    result = train("check", "--config", str(CONFIGS / "segmentation.yaml"), *words)
    assert ["left", "out", "12.50%"] in [line.split() for line in result.out.splitlines()]
    assert "1 problem:\n  train: class 1 has no pixels\n" in result.out


def test_labels_in_columns(train: Train, tmp_path: Path) -> None:
    labels = np.zeros((40, 3), dtype=np.float32)
    labels[::4, 0], labels[:, 1], labels[7, 1], labels[9, 0] = 1, 0.9, 2, -1
    np.savez(tmp_path / "a.npz", inputs=np.zeros((40, 3), dtype=np.float32), targets=labels)
    data = ("--data", "trainworks.datamodules.ArrayDataModule", "--data.train", "a.npz", "--data.num_classes", "3")
    result = train("check", "--config", str(CONFIGS / "multilabel.yaml"), *data, *ONLY_TRAIN)
    assert result.code == 1
    table = [line.split() for line in result.out.splitlines()]
    assert ["0", "10", "25.0%"] in table and ["1", "40", "100.0%"] in table and ["2", "0", "0.0%"] in table
    for problem in (
        "train: labels that are not between 0 and 1: sample 7: 2, sample 9: -1 (2 of 40 samples)",
        "train: label 2 never occurs",
    ):
        assert f"  {problem}\n" in result.out, result.out
    assert "2 problems" in result.out


TARGETS: dict[str, tuple[str, np.ndarray, str]] = {  # a configuration, targets, and the problem
    "below 0": (
        "arrays",
        np.arange(40) % 3 - 1,
        "no whole numbers from 0 to 4 (num_classes is 5): sample 0: -1, sample 3",
    ),
    "fractions": ("arrays", np.arange(40) % 3 + np.arange(40) / 80, "(num_classes is 5): sample 1: 1.0125, sample 2"),
    "one value": ("diabetes", np.full(40, 3.5), "train: every target is 3.5\n"),
    "infinite": ("diabetes", np.where(np.arange(40) == 3, np.inf, np.arange(40.0)), "sample 3 holds NaN or infinite"),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_targets_that_cannot_be_learned(train: Train, tmp_path: Path, kind: str) -> None:
    config, targets, problem = TARGETS[kind]
    np.savez(tmp_path / "a.npz", inputs=np.random.default_rng(0).random((40, 3)), targets=targets)
    words = ("--data.num_classes", "5") if config == "arrays" else ("--data", "trainworks.datamodules.ArrayDataModule")
    given = ("--data.train", "a.npz", "--data.val_fraction", "0.2", "--data.test_fraction", "0")
    result = train("check", "--config", str(CONFIGS / f"{config}.yaml"), *words, *given)
    assert result.code == 1
    assert problem in result.out, result.out


def test_several_values_are_no_labels(train: Train, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,c\n" + "".join(f"{k},{k * 0.5},{k * 7}\n" for k in range(40)))
    data = ("--data", "trainworks.datamodules.ArrayDataModule", "--data.train", "t.csv", "--data.targets", "[b,c]")
    result = train("check", "--config", str(CONFIGS / "diabetes.yaml"), *data, *ONLY_TRAIN)
    assert (result.code, result.out) == (0, "train: 40 samples, 40 of shape 1\n\nno problems\n")


class Boxes(Dataset[Any]):
    """Images of 20x10 pixels, each with one fault in its boxes but the last two."""

    def __init__(self, root: str) -> None:
        corners = [
            [5, 5, 25, 9],
            [5, 5, 5, 9],
            [9, 5, 4, 9],
            [np.nan, 1, 2, 3],
            [0, 0, 20, 10],
            [0, 0, 20, 10],
            [0, 0, 4, 4],
        ]
        self.boxes = [torch.tensor([[1, 1, 3, 3], box], dtype=torch.float32) for box in corners]

    def __len__(self) -> int:
        return len(self.boxes) + 1

    def __getitem__(self, item: int) -> Any:
        target: dict[str, Any] = {"image_id": item}
        if item < len(self.boxes):
            target |= {"boxes": self.boxes[item], "labels": torch.tensor([1, {4: 0, 5: 4}.get(item, 2)])}
        return torch.zeros(3, 10, 20), target


def test_boxes(train: Train) -> None:
    data = (*VISION, "--data.num_classes", "4")
    data += ("--data.train_dataset", "trainworks.tests.cli.commands.test_check.Boxes", "--data.val_fraction", "0")
    sizes = ("--model.net.min_size", "20", "--model.net.max_size", "20")
    result = train("check", "--config", str(CONFIGS / "detection.yaml"), *data, *sizes)
    assert result.code == 1
    table = [line.split() for line in result.out.splitlines()]
    assert ["1", "7", "50.0%"] in table and ["2", "5", "35.7%"] in table
    for problem in (
        "train: boxes that reach out of their image: sample 0: 5, 5, 25, 9 in 20x10 (1 of 8 samples)",
        "train: boxes without width or height (a box is x1, y1, x2, y2 with x1 < x2, y1 < y2): "
        "sample 1: 5, 5, 5, 9 in 20x10, sample 2: 9, 5, 4, 9 in 20x10 (2 of 8 samples)",
        "train: boxes with NaN or infinite corners: sample 3: nan, 1, 2, 3 in 20x10 (1 of 8 samples)",
        "train: labels of boxes (0 is the background) that are no whole numbers from 1 to 3 (num_classes is 4): "
        "sample 4: 0, sample 5: 4 (2 of 8 samples)",
    ):
        assert f"  {problem}\n" in result.out, result.out
    assert "4 problems" in result.out
    notes = "  train: images without boxes: sample 7 (1 of 8 samples)\n  train: class 3 has no boxes\n"
    assert f"2 notes:\n{notes}" in result.out


class Halves(Dataset[Any]):
    """Images of 20x10 pixels with masks of 10x10."""

    def __init__(self, root: str) -> None:
        self.mask = tv_tensors.Mask(torch.arange(2).repeat(10, 5))

    def __len__(self) -> int:
        return 3

    def __getitem__(self, item: int) -> Any:
        return Image.new("RGB", (20, 10)), self.mask


def test_sizes_are_those_before_images_and_masks_are_resized(train: Train) -> None:
    data = (*VISION, "--data.num_classes", "2")
    data += ("--data.train_dataset", "trainworks.tests.cli.commands.test_check.Halves", "--data.image_size", "16")
    result = train("check", "--config", str(CONFIGS / "segmentation.yaml"), *data, "--data.val_fraction", "0")
    assert "train: 3 samples, 3 of shape 3x10x20\n" in result.out
    assert "1 problem:\n  train: masks of another size than their images: sample 0: 10x10, not 10x20, " in result.out


def test_mistakes(train: Train) -> None:
    assert "no --config given" in train("check", "--data.root", "x").err
    assert "check takes no --ckpt_path" in train("check", "--config", DIGITS, "--ckpt_path", "x").err
    assert "data.root nowhere: no such folder" in train("check", "--config", FOLDER, "--data.root", "nowhere").err


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The pictures that would be written, which takes the most time."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path: figures.append(self))
    return figures


def shown(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(axis.images[0].get_array()) for axis in figure.axes if axis.images]


def test_a_picture_of_classes_before_and_after_the_transforms(train: Train, folder: Path, drawn: list[Figure]) -> None:
    broken = folder / "train/cat/001.jpg"
    broken.write_bytes(b"")
    words = ("check", "--config", FOLDER, "--data.root", str(folder), "--data.val_fraction", "0")
    crop = "[{class_path: torchvision.transforms.v2.CenterCrop, init_args: {size: 20}}]"
    words += ("--data.sample_transform", crop, "--picture", "new/a.png")
    result = train(*words)
    assert "picture: new/a.png, 15 training samples" in result.out  # one cannot be read, as the report says
    assert (result.code, result.out.count("001.jpg")) == (1, 1)
    titles = [axis.get_title() for axis in drawn[0].axes[:30]]
    assert all(title.split("\n")[1] in ("cat", "dog") for title in titles)
    assert {title.split("\n")[0] for title in titles[1::2]} == {"transformed"} and ".jpg" in titles[0]
    before, after = shown(drawn[0])[:2]
    assert before.shape == after.shape == (256, 256, 3) and np.abs(before - after).max() > 0.1
    train(*words)
    train(*words, "--seed_everything", "1")
    same, other = ([axis.get_title() for axis in figure.axes] for figure in drawn[1:])
    assert same[:30] == titles != other[:30]
    assert all(map(np.array_equal, shown(drawn[1]), shown(drawn[0])))


@pytest.mark.parametrize("kind", ["segmentation", "detection"])
def test_a_picture_of_masks_and_boxes(train: Train, drawn: list[Figure], kind: str) -> None:
    sizes = ("--data.num_train", "17", "--data.num_val", "2", "--data.num_test", "2")
    result = train("check", "--config", str(CONFIGS / f"{kind}.yaml"), *sizes, "--picture", "a.png")
    assert "picture: a.png, 16 training samples" in result.out
    colours = {tuple(np.round(pixel * 255).astype(int).tolist()) for pixel in shown(drawn[0])[0].reshape(-1, 3)}
    exact = sum(color_of(k) in colours for k in range(1, 11))
    assert exact >= 1 if kind == "detection" else drawn[0].legends[0].get_texts()[1].get_text() == "0"


CROP = ("--data.train_transform", "[{class_path: torchvision.transforms.v2.RandomCrop, init_args: {size: 99}}]")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--config", ARRAYS, "--data.train", "a.csv", "--picture", "a.png"), "nothing to draw: the training samples"),
        (("--config", ARRAYS, "--data.train", "a.csv", "--picture", "a.gif"), "ends in .png, got a.gif"),
        (("--picture", "a.png"), "--picture needs --config"),
        (("--config", DIGITS, *CROP, "--picture", "a.png"), "--picture a.png: Required crop size (99, 99) is larger"),
    ],
)
def test_no_picture(train: Train, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "a.csv").write_text("x,targets\n" + "1,a\n2,b\n" * 20)
    result = train("check", *words)
    assert (result.code, len(result.err.splitlines()[-1:])) == (2, 1) and message in result.err
