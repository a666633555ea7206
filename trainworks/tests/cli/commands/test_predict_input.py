"""predict --input: a row for each file, whatever happens."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from trainworks.callbacks.result_writer import ResultWriter
from trainworks.models import load_model
from trainworks.tests.conftest import CONFIGS, DIGITS, PLAIN, QUICK, ROOT, Train, write_images
from trainworks.tests.examples import detector

SMALL = ("--data.root", "data", "--data.image_size", "16", "--data.batch_size", "4", *PLAIN)
FOLDER = ("--config", str(CONFIGS / "image_folder.yaml"), *SMALL)
BEST = "logs/image_folder/a/checkpoints/best.ckpt"


def rows_of(path: str = "out.csv") -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def trained(train: Train, tmp_path: Path) -> Train:
    """Train on two classes of images for a moment, and return how to predict with it."""
    for name in ("cat", "dog"):
        write_images(tmp_path / "data" / name, 30)
    words = ("--model.net.layers", "[4, M, 8]", "--trainer.max_epochs", "1", "--run_name", "a")
    assert train("fit", *FOLDER, *words).code == 0
    return lambda *words: train("predict", *FOLDER, "--run_name", "a", "--output", "out.csv", *words)


def test_a_folder_with_an_unreadable_image(trained: Train, tmp_path: Path) -> None:
    names = [str(path.relative_to(tmp_path)) for path in write_images(tmp_path / "new", 9)]
    (tmp_path / "new/003.jpg").write_text("no image")
    result = trained("--input", "new", "--top_k", "2", "--probabilities", "true")
    assert (result.code, result.err) == (0, ""), result.err
    assert "val/" not in result.out  # figures of the training are none of these inputs
    assert "predictions: out.csv, 9 rows, 1 could not be read: see the column error" in result.out
    rows = rows_of()
    assert [row["input"] for row in rows] == names
    assert rows[3]["class"] == "" and "new/003.jpg: cannot be read as an image" in rows[3]["error"]
    found = load_model(BEST).predict([name for name in names if "003" not in name], batch_size=4)
    kept = [row for row in rows if not row["error"]]
    assert [row["class"] for row in kept] == [result.label for result in found]
    for row, answer in zip(kept, found, strict=True):
        assert float(row["confidence"]) == pytest.approx(answer.probability, abs=1e-6)
        assert float(row["probability_cat"]) == pytest.approx(answer.probabilities["cat"], abs=1e-6)
        assert row["class_2"] != row["class"]
    assert [path.name for path in tmp_path.glob("out*")] == ["out.csv"]
    record = json.loads(Path("logs/image_folder/a/run.json").read_text())
    assert record["evaluations"][-1]["exit_status"] == 0


def test_lists_of_files(trained: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(path) for path in reversed(write_images(tmp_path / "new", 5))]
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "list.csv").write_text("path,other\n" + "".join(f"{name},1\n" for name in names))
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(names)))
    answers = []
    for given in ("list.txt", "list.csv", "-"):
        result = trained("--input", given)
        assert result.code == 0, result.err
        answers.append(rows_of())
    assert [row["input"] for row in answers[0]] == names
    assert answers[0] == answers[1] == answers[2]
    assert trained("--input", names[0], "--flip", "true").code == 0
    (flipped,) = rows_of()
    model = load_model(BEST)
    batch = model.predict.data.batch_of([names[0]], "cpu")
    with torch.inference_mode():
        both = (model(batch) + model(batch.flip(-1))) / 2
    assert float(flipped["confidence"]) == pytest.approx(float(both.softmax(dim=1).max()), abs=1e-6)


def test_it_goes_on_where_it_was_killed(trained: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "new", 30)
    assert trained("--input", "new").code == 0
    whole = (tmp_path / "out.csv").read_bytes()
    write, batches = ResultWriter.write_on_batch_end, []

    def fail(self: ResultWriter, trainer: Any, *given: Any) -> None:
        write(self, trainer, *given)
        batches.append(given)
        if len(batches) == 4:
            with self.tables["predict"].part.open("a") as file:
                file.write('[99, {"inp')  # as a kill leaves it, in the middle of a row
            raise KeyError("killed")

    monkeypatch.setattr(ResultWriter, "write_on_batch_end", fail)
    (tmp_path / "out.csv").unlink()
    killed = trained("--input", "new")
    assert killed.code == 1 and "KeyError: 'killed'" in killed.err
    assert not (tmp_path / "out.csv").exists()
    assert trained("--input", "new").code == 0
    assert len(batches) == 8  # of 30 images in batches of 4, none came twice
    assert (tmp_path / "out.csv").read_bytes() == whole
    batches.clear()
    assert trained("--input", "new").code == 1  # a new command after a finished one begins anew
    write_images(tmp_path / "new", 31)
    assert trained("--input", "new").code == 0  # and so does one with other files
    assert len(rows_of()) == 31 and len(batches) == 4 + 8


@pytest.mark.kills
def test_a_killed_process_goes_on(trained: Train, tmp_path: Path) -> None:
    names = [str(path) for path in write_images(tmp_path / "new", 40)] * 150
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n")
    assert trained("--input", "list.txt").code == 0
    whole = (tmp_path / "out.csv").read_bytes()
    words = ("predict", *FOLDER, "--run_name", "a", "--input", "list.txt", "--output", "again.csv")
    process = subprocess.Popen([sys.executable, str(ROOT / "train.py"), *words], stdout=subprocess.DEVNULL)
    part = tmp_path / "again.csv.part0"
    while not part.exists() or part.stat().st_size < 20_000:
        time.sleep(0.01)
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = part.stat().st_mtime_ns, part.read_bytes()[:20_000]
    assert subprocess.run([sys.executable, str(ROOT / "train.py"), *words], capture_output=True).returncode == 0
    assert before[1].count(b"\n") > 100
    assert (tmp_path / "again.csv").read_bytes() == whole


@pytest.mark.two_processes
def test_two_processes_answer_each_input_once(trained: Train, train_process: Train, tmp_path: Path) -> None:
    write_images(tmp_path / "new", 23)
    (tmp_path / "new/010.jpg").write_bytes(b"")
    assert trained("--input", "new").code == 0
    alone = rows_of()
    two = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    result = train_process("predict", *FOLDER, "--run_name", "a", "--input", "new", "--output", "two.csv", *two)
    assert result.code == 0, result.err
    together = rows_of("two.csv")
    assert [row["input"] for row in together] == [row["input"] for row in alone]
    for one, other in zip(alone, together, strict=True):
        assert (one["class"], one["error"]) == (other["class"], other["error"])
        assert not one["confidence"] or float(one["confidence"]) == pytest.approx(float(other["confidence"]), abs=1e-6)


def test_parquet(trained: Train, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_images(tmp_path / "new", 5)
    assert trained("--input", "new").code == 0
    assert trained("--input", "new", "--output", "out.parquet").code == 0
    table = parquet.read_table("out.parquet").to_pylist()
    assert [row["class"] for row in table] == [row["class"] for row in rows_of()]
    assert table[0]["confidence"] == float(rows_of()[0]["confidence"])


def test_masks_and_pictures(train: Train, tmp_path: Path) -> None:
    config = ("--config", str(CONFIGS / "segmentation.yaml"), "--data.num_train", "8", "--data.num_val", "4")
    assert train("fit", *config, *QUICK, "--trainer.limit_val_batches", "1", "--run_name", "a").code == 0
    write_images(tmp_path / "new", 3, (80, 60))
    words = ("--input", "new", "--output", "out.csv", "--draw", "true")
    result = train("predict", *config, "--run_name", "a", *words)
    assert result.code == 0, result.err
    for number, row in enumerate(rows_of()):
        with Image.open(row["mask"]) as mask:
            assert (mask.mode, mask.size) == ("P", (64, 64))
            share = float(np.mean(np.asarray(mask) == 0))
        assert float(row["share_background"]) == pytest.approx(share, abs=1e-6)
        with Image.open(f"out_drawn/{number:06}-{number:03}.png") as drawn:
            assert drawn.size == (64, 64)
    (tmp_path / "new/002.jpg").write_bytes(b"")
    write_images(tmp_path / "new/large", 1, (150, 90))
    result = train("predict", *config, "--run_name", "a", *words[:4], "--tile", "64", "--overlap", "8")
    assert (result.code, "4 rows, 1 could not be read" in result.out) == (0, True), result.err
    found = load_model("logs/segmentation/a/checkpoints/best.ckpt").predict("new/large/000.jpg", tile=64, overlap=8)
    (row,) = (row for row in rows_of() if "large" in row["input"])
    with Image.open(row["mask"]) as mask:
        assert (mask.mode, mask.size, mask.getpalette()) == ("P", (150, 90), found.image().getpalette())
        assert np.array_equal(np.asarray(mask), found.mask.numpy())
    assert {name: float(row[name]) for name in found.columns()} == pytest.approx(found.columns())
    result = train("predict", *config, "--run_name", "a", *words, "--tile", "64")
    assert result.code == 2 and "tiles are for new images and one device; write --tile 512 --input DIR" in result.err


def test_boxes(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ("--config", str(CONFIGS / "detection.yaml"), "--data.num_train", "8", "--data.num_val", "4")
    config += ("--model.net.score_thresh", "0.05")  # a network that has not learned is not surer
    assert train("fit", *config, *QUICK, "--trainer.limit_val_batches", "1", "--run_name", "a").code == 0
    write_images(tmp_path / "new", 2, (64, 64))
    monkeypatch.setattr(detector.DetectorModule, "threshold", 0.0)
    result = train("predict", *config, "--run_name", "a", "--input", "new", "--output", "out.csv", "--draw", "true")
    assert result.code == 0, result.err
    content = json.loads(Path("out.coco.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["new/000.jpg", "new/001.jpg"]
    rows = rows_of()
    assert len(content["annotations"]) == sum(int(row["count"]) for row in rows) > 0
    assert {"id": 3, "name": "2"} in content["categories"]
    for entry in content["annotations"]:
        assert min(entry["bbox"]) >= 0 and 1 <= entry["category_id"] <= 10
    assert {path.name for path in Path("out_drawn").iterdir()} == {"000000-000.png", "000001-001.png"}


def test_rows_of_a_table(train: Train, tmp_path: Path) -> None:
    lines = [f"{a},{-a},{'big' if a > 0 else 'small'}" for a in np.linspace(-1, 1, 100)]
    (tmp_path / "t.csv").write_text("\n".join(["width,height,targets", *lines]) + "\n")
    config = ("--config", str(CONFIGS / "arrays.yaml"), "--data.train", "t.csv", "--run_name", "a")
    assert train("fit", *config, "--trainer.max_epochs", "9", *PLAIN).code == 0
    (tmp_path / "new.csv").write_text("height,width\n-1,1\n1,-1\n")
    result = train("predict", *config, "--input", "new.csv", "--output", "out.csv")
    assert result.code == 0, result.err
    assert [(row["input"], row["class"]) for row in rows_of()] == [("0", "big"), ("1", "small")]
    (tmp_path / "bad.csv").write_text("note,height,width\n,-1,1\n\na,1\nb,,1\nc,1,tall\nd,1,-1\n")
    result = train("predict", *config, "--input", "bad.csv", "--output", "out.csv")
    assert result.code == 0 and "5 rows, 3 could not be read" in result.out, result.err
    assert [(row["input"], row["class"]) for row in rows_of()] == list(
        zip("01234", ["big", "", "", "", "small"], strict=True)
    )
    reasons = ["line 4: 2 cells, but", "line 5, column 'height': the cell is empty", "line 6, column 'width': expected"]
    assert all(f"bad.csv, {reason}" in row["error"] for reason, row in zip(reasons, rows_of()[1:], strict=False))
    assert train("predict", *config, "--output", "out.csv").code == 0
    given = np.linspace(-1, 1, 100)
    held_out = [int(row["input"]) for row in rows_of()]  # numbers of the rows of t.csv, of which the targets are known
    assert len(held_out) == 10 and held_out != list(range(10))
    assert [row["target"] for row in rows_of()] == ["big" if given[number] > 0 else "small" for number in held_out]
    failed = train("predict", *config, "--input", "new.csv", "--flip", "true", "--output", "out.csv")
    assert failed.code == 2 and "--flip true needs images of one size" in failed.err


class Flat(nn.Sequential):
    """Classify arrays of any shape."""

    def __init__(self, size: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(size, 3))


@pytest.mark.parametrize("shape", [(3, 7), (1, 2, 3, 4), (1, 5, 5)])
def test_arrays_of_any_shape(train: Train, tmp_path: Path, shape: tuple[int, ...]) -> None:
    targets = np.arange(60) % 3
    inputs = np.random.default_rng(0).normal(size=(60, *shape)) + 2 * targets.reshape(60, *[1] * len(shape))
    np.savez(tmp_path / "a.npz", inputs=inputs, targets=targets)
    (tmp_path / "new").mkdir()
    for number in range(3):
        np.save(tmp_path / f"new/{number}.npy", inputs[number])
    np.save(tmp_path / "new/3.npy", inputs[0][..., :2])
    (tmp_path / "new/4.npy").write_text("no array")
    np.save(tmp_path / "few.npy", inputs[:4])
    net = ("--model.net", f"{__name__}.Flat", "--model.net.size", str(inputs[0].size))
    config = ("--config", str(CONFIGS / "arrays.yaml"), "--data.train", "a.npz", *net, "--run_name", "a")
    result = train("fit", *config, "--trainer.max_epochs", "1", *PLAIN)
    assert result.code == 0, result.err
    model: Any = load_model("logs/arrays/a/checkpoints/best.ckpt")
    expected = [found.label for found in model.predict(inputs)]
    assert len(set(expected)) > 1
    for given, count in (("new", 3), ("few.npy", 4), ("a.npz", 60), ("new/1.npy", 1)):
        result = train("predict", *config, "--input", given, "--output", "out.csv")
        assert result.code == 0, result.err
        first = 1 if given == "new/1.npy" else 0
        assert [row["class"] for row in rows_of() if not row["error"]] == expected[first : first + count]
        names = [f"new/{number}.npy" for number in range(5)] if given == "new" else [str(k) for k in range(count)]
        assert [row["input"] for row in rows_of()] == (["new/1.npy"] if count == 1 else names)
        reasons = [row["error"] for row in rows_of() if row["error"]]
        assert len(reasons) == (2 if given == "new" else 0)
        assert not reasons or (
            ", got float64 of shape" in reasons[0] and "4.npy: cannot be read as an array" in reasons[1]
        )
    assert model.predict("new/1.npy") == model.predict(inputs[1]) == model.predict(inputs[1].tolist())
    assert model.predict(list(inputs[:2])) == model.predict(torch.from_numpy(inputs[:2]))
    wrong = re.escape(f"an input must be float32 of shape {shape}, got ")
    for given in (inputs[0].astype(np.uint8), inputs[0][..., :2], 1j * inputs[0]):
        with pytest.raises(ValueError, match=wrong):
            model.predict(given)
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"shape .*\d\); write the numbers or the path of an .npy file, got 'x\.png'"):
        model.predict("x.png")


def test_digits_are_answered_from_arrays_of_no_format(train: Train, tmp_path: Path) -> None:
    pixels = list(np.round(load_digits().images[:6] * (255 / 16)).astype(np.uint8))
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    config = ("--config", DIGITS, "--run_name", "a")
    assert train("fit", *config, *PLAIN, "--trainer.max_epochs", "6").code == 0
    assert train("predict", *config, "--input", ".", "--output", "out/deep/p.csv").code == 0
    expected = load_model("logs/digits/a/checkpoints/best.ckpt").predict(pixels)
    assert [row["class"] for row in rows_of("out/deep/p.csv")] == [result.label for result in expected]
    assert len({result.label for result in expected}) > 3


def test_a_module_without_answers_of_its_own_gives_the_rows_of_its_predict_step(train: Train, tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(np.full((8, 8), 40 * number, np.uint8)).save(tmp_path / f"{number}.png")
    config = ("--config", str(CONFIGS / "vae.yaml"), "--run_name", "a")
    assert train("fit", *config, *QUICK).code == 0
    result = train("predict", *config, "--input", ".", "--output", "out.csv")
    assert result.code == 0, result.err
    assert all(float(row["bits_per_dim"]) > 0 for row in rows_of()) and len(rows_of()) == 3
    result = train("predict", *config, "--input", ".", "--output", "top.csv", "--top_k", "2")
    assert (result.code, "--top_k 2: a row has no likeliest classes here" in result.err) == (2, True), result.err
    assert not list(tmp_path.glob("top.csv*"))


MISTAKES = {
    "--input nope": "--input nope: no such file",
    "--input empty": "empty: no images in this folder",
    "--input new --output out.txt": "--output must end in .csv or .parquet, got out.txt",
    "--input new --top_k 0": "--top_k must be a number of at least 1, got 0",
    "--input new --output out.csv --top_k 3": "--top_k 3: there are 2 classes; leave --top_k out, or write a smaller",
    "--output out.csv --top_k 3": "--top_k 3: there are 2 classes; leave --top_k out",
    "--input new --draw yes": "--draw must be true or false, got yes",
    "--input new --output out.csv --tile 64": "tiles are for masks and boxes, from a checkpoint that says how its",
    "--input new --overlap 8": "tiles are for new images and one device; write --tile 512 --input DIR",
    "--output out.txt": "--output must end in .csv or .parquet, got out.txt",
    "--input none.txt": "--input none.txt: nothing in it",
}


def test_mistakes(trained: Train, train: Train, tmp_path: Path) -> None:
    write_images(tmp_path / "new", 2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.txt").touch()
    for words, message in MISTAKES.items():
        result = train("predict", *FOLDER, "--run_name", "a", *words.split())
        assert (result.code, message in result.err) == (2, True), (words, result.err)
        assert "Traceback" not in result.err
    assert not list(tmp_path.glob("out*"))
    failed = train("test", *FOLDER, "--run_name", "a", "--input", "new")
    assert failed.code == 2 and "test takes no --input; it belongs to predict" in failed.err
