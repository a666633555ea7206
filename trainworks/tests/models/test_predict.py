"""A checkpoint alone answers for files, arrays, rows and texts, as the command predict does."""

import csv
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_diabetes, load_digits
from torchvision.transforms.v2 import functional

from trainworks.models import load_model
from trainworks.tests.conftest import CONFIGS, DIGITS, PLAIN, QUICK, Train, write_images
from trainworks.tests.examples.classifier import ClassifierModule

BEST = "logs/{}/a/checkpoints/best.ckpt"
FOLDER = str(CONFIGS / "image_folder.yaml")


@pytest.fixture
def trained(train: Train) -> Any:
    """Train a config for a moment and return what its checkpoint makes."""

    def run(name: str, *words: str) -> Any:
        config = str(CONFIGS / f"{name}.yaml")
        result = train("fit", "--config", config, *QUICK, "--trainer.limit_val_batches", "1", *words, "--run_name", "a")
        assert result.code == 0, result.err
        return load_model(BEST.format(name))

    return run


def digit_images() -> list[np.ndarray]:
    return list(np.round(load_digits().images * (255 / 16)).astype(np.uint8))


def test_digits_by_any_kind_of_image(train: Train, tmp_path: Path) -> None:
    assert train("fit", "--config", DIGITS, "--trainer.max_epochs", "4", *PLAIN, "--run_name", "a").code == 0
    model, images = load_model(BEST.format("digits")), digit_images()[:200]
    found = model.predict(images)
    assert (
        np.mean([int(result.label) == truth for result, truth in zip(found, load_digits().target, strict=False)]) > 0.9
    )
    first = found[0]
    assert first.probabilities[first.label] == first.probability == max(first.probabilities.values())
    assert list(first.probabilities) == [str(digit) for digit in range(10)]
    assert (first.top(3)[0][0], len(first.top(3))) == (first.label, 3)
    Image.fromarray(images[0]).save(tmp_path / "0.png")
    others = (
        images[0][..., None],
        torch.from_numpy(images[0])[None],
        Image.fromarray(images[0]),
        "0.png",
        Path("0.png"),
    )
    for other in others:
        assert model.predict(other).probabilities == pytest.approx(first.probabilities, abs=1e-6)
    assert model.predict(np.stack(images[:3])[..., None])[2].label == found[2].label
    assert f"<td>{first.label}</td>" in first._repr_html_()
    large = Image.fromarray(images[0]).resize((80, 80), Image.Resampling.NEAREST).convert("RGB")
    small = functional.resize(torch.from_numpy(np.array(large.convert("L")))[None], [8, 8], antialias=True)
    assert model.predict(large) == model.predict(small)


def test_a_folder_gives_the_figures_of_the_command_bit_by_bit(train: Train, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_images(tmp_path / "data" / name, 30)
    new = write_images(tmp_path / "new", 7)
    small = ("--data.root", "data", "--data.image_size", "16", "--data.batch_size", "4", *PLAIN)
    words = ("--model.net.layers", "[4, M, 8]", "--trainer.max_epochs", "1", "--run_name", "a")
    assert train("fit", "--config", FOLDER, *small, *words).code == 0
    assert train("predict", "--config", FOLDER, *small, "--data.predict_root", "new", "--run_name", "a").code == 0
    with open("logs/image_folder/a/predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    model = load_model(BEST.format("image_folder"))
    for given in ("new", [str(path) for path in new]):
        found = model.predict(given)
        assert [(result.label, result.probability) for result in found] == [
            (row["class"], float(row["confidence"])) for row in rows
        ]
    with pytest.raises(FileNotFoundError, match="logs/image_folder/a is no checkpoint; write a file such as RUN/check"):
        load_model("logs/image_folder/a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no images in this folder"):
        model.predict("empty")
    with pytest.raises(ValueError, match=r"new/00.jpg: no such file \(did you mean 00[0-9].jpg\?\)"):
        model.predict("new/00.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"text.jpg: cannot be read as an image"):
        model.predict("text.jpg")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((8, 8)), "dtype is uint8, its pixels are float64; float32 takes them"),
        (np.zeros((8, 8, 4), np.uint8), r"num_channels is 1, its shape \(C, H, W\) is \(4, 8, 8\)"),
        (3, r"an image is a file, Pillow image, array \(H, W, C\) or tensor \(C, H, W\), got int of shape \(\)"),
    ],
)
def test_what_is_no_image(trained: Any, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trained("digits").predict(given)


def test_rows_of_a_table(train: Train, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(300, 3))
    lines = [f"{a:.6f},{b:.6f},{'big' if a > 0 else 'small'},{c:.6f}" for a, b, c in rows]
    (tmp_path / "t.csv").write_text("\n".join(["width,height,targets,depth", *lines]) + "\n")
    config = str(CONFIGS / "arrays.yaml")
    result = train(
        "fit", "--config", config, "--data.train", "t.csv", "--trainer.max_epochs", "8", *PLAIN, "--run_name", "a"
    )
    assert result.code == 0, result.err
    model = load_model(BEST.format("arrays"))
    row = {"depth": 0.3, "width": 2.0, "height": -0.1, "other": "x"}
    assert model.predict(row).label == "big"
    assert model.predict([2.0, -0.1, 0.3]) == model.predict(row)
    assert [result.label for result in model.predict([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]])] == ["big", "small"]
    (tmp_path / "new.csv").write_text("name,height,width,depth\nx,0,2,0\ny,0,-2,0\n")
    assert [result.label for result in model.predict("new.csv")] == ["big", "small"]
    with pytest.raises(ValueError, match="a row needs the columns width, height, depth; missing: depth"):
        model.predict({"width": 1, "height": 2})
    with pytest.raises(ValueError, match=r"an input must be float32 of shape \(3,\), got float64 of shape \(2,\)"):
        model.predict([1.0, 2.0])
    with pytest.raises(ValueError, match=r"a row must have a number for each column, got .*'big'.*could not convert"):
        model.predict({"width": 1, "height": "big", "depth": 2})
    (tmp_path / "README.md").touch()
    with pytest.raises(ValueError, match=r"shape \(3,\); write the numbers or the path of .*, got 'README\.md'"):
        model.predict("README.md")
    (tmp_path / "new.csv").write_text("height,width,depth\n0,2,0\n\n0,,1\n")
    with pytest.raises(ValueError, match=r"new.csv, line 4, column 'width': the cell is empty"):
        model.predict("new.csv")


def test_values_in_their_units(trained: Any) -> None:
    model = trained("diabetes")
    inputs = load_diabetes(scaled=False).data[:4]
    found = model.predict(inputs)
    with torch.inference_mode():
        expected = model(torch.from_numpy(inputs).float()).flatten().tolist()
    assert [result.value for result in found] == expected
    assert f"{found[0].value:.6g}" in found[0]._repr_html_()


def test_several_labels(trained: Any) -> None:
    pair = np.concatenate(digit_images()[:2], axis=1)
    result = trained("multilabel").predict(pair)
    assert list(result.probabilities) == [str(digit) for digit in range(10)]
    assert result.labels == [name for name, value in result.probabilities.items() if value > 0.5]
    assert "<table>" in result._repr_html_()


def test_masks(trained: Any) -> None:
    result = trained("segmentation", "--data.num_train", "8", "--data.num_val", "4").predict(
        np.zeros((64, 64, 3), np.uint8)
    )
    assert (result.mask.dtype, tuple(result.mask.shape)) == (torch.uint8, (64, 64))
    assert sum(result.shares.values()) == pytest.approx(1) and "background" in result.shares
    picture = result.image()
    assert picture.mode == "P" and np.array_equal(np.asarray(picture), result.mask.numpy())
    assert picture.getpalette()[:3] == [0, 0, 0]  # type: ignore[index]
    assert result._repr_html_().startswith('<img alt="')


def test_boxes(trained: Any) -> None:
    model = trained("detection", "--data.num_train", "8", "--data.num_val", "4")
    boxes = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 9.0, 9.0]])
    found = [{"boxes": boxes, "labels": torch.tensor([3, 1]), "scores": torch.tensor([0.9, 0.2])}]
    model.net.forward = lambda images: found
    result = model.predict(np.zeros((64, 64, 3), np.uint8))
    shapes = []
    model.net.forward = lambda images: shapes.extend(tuple(image.shape) for image in images) or found * len(images)
    model.predict([np.zeros((50, 70, 3), np.uint8), np.zeros((30, 20, 3), np.uint8)])
    assert shapes == [(3, 50, 70), (3, 30, 20)]  # boxes are then those of the images as they are
    assert (result.boxes.tolist(), result.labels, result.scores) == ([[1, 2, 3, 4]], ["2"], [pytest.approx(0.9)])
    assert "<td>0.90</td><td>1, 2, 3, 4</td>" in result._repr_html_()


def test_texts(trained: Any) -> None:
    model = trained("gpt", "--model.net.width", "8", "--model.net.num_layers", "1")
    one, two = model.predict(["The language", "a"])
    assert one.text.startswith("The language") and len(one.text.encode()) >= 200
    assert 0 < one.bits_per_byte < 12 and np.isnan(two.bits_per_byte)
    assert model.predict("The language") == one
    with pytest.raises(ValueError, match="a text must be a string of at least one character, got ''"):
        model.predict("")


def test_a_checkpoint_that_does_not_know_its_inputs_says_so(trained: Any) -> None:
    trained("digits")
    path = BEST.format("digits")
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["data"]
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=r"this checkpoint does not say how its inputs are made"):
        load_model(path).predict("x.png")
    checkpoint["data"] = {"class_path": "torch.nn.Linear", "init_args": {}}
    torch.save(checkpoint, path)
    model = load_model(path)
    with pytest.raises(ValueError, match=r"names torch.nn.Linear, which is no LightningDataModule; it was not called"):
        model.predict("x.png")
    assert isinstance(pickle.loads(pickle.dumps(model.predict)).module, ClassifierModule)
