"""What a configuration leaves to the data, through the real command line."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from trainworks.cli.config import left_to_data
from trainworks.cli.facts import build_data
from trainworks.models import load_model
from trainworks.tests.conftest import CONFIGS, DIGITS, QUICK, Train, write_images

FOLDER = str(CONFIGS / "image_folder.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    for number, name in enumerate(("cat", "dog", "über")):
        write_images(tmp_path / "my data" / name, 30 + 10 * number)
    return str(tmp_path / "my data")


def printed(train: Train, *words: str) -> Any:
    result = train(*words, "--print_config")
    assert result.code == 0, result.err
    return yaml.safe_load(result.out)


class Untyped(TensorDataset):
    """An argument without an annotation, as most datasets have."""

    def __init__(self, root, size=3):  # type: ignore[no-untyped-def]  # noqa: ANN204, ANN001
        super().__init__(torch.zeros(9, size), torch.arange(9) % 3)


def test_data_whose_arguments_have_no_types_is_built() -> None:
    dataset = {"class_path": f"{__name__}.Untyped", "init_args": {"size": 5}}
    arguments = {"train_dataset": dataset, "num_classes": 3, "root": "."}
    data: Any = build_data({"data": {"class_path": "trainworks.datamodules.VisionDataModule", "init_args": arguments}})
    assert data.load_splits()["train"][0][0].shape == (5,)


def test_references_to_what_is_not_stated() -> None:
    data = {"class_path": "x.Y", "init_args": {"a": 1, "b": None, "c": "null"}}
    keys = ("a", "b", "c", "d")
    assert left_to_data({"data": data, "model": [f"${{data.init_args.{key}}}" for key in keys]}) == {"b", "c", "d"}
    assert left_to_data({"data": "x.Y", "model": "${data.init_args.a}"}) == set()


def test_the_number_of_classes_sizes_the_head_and_is_stated_in_the_run(train: Train, folder: str) -> None:
    config = printed(train, "--config", FOLDER, "--data.root", folder)
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    assert model["net"]["init_args"]["num_classes"] == data["num_classes"] == 3
    assert model["metrics"]["accuracy"]["init_args"]["num_classes"] == 3
    assert data["class_names"] == ["cat", "dog", "über"]
    assert data["class_weights"] is None  # nothing refers to it
    assert printed(train, "--config", FOLDER, "--data.root", folder, "--data.num_classes", "null") == config


def test_what_is_stated_wins(train: Train, folder: str) -> None:
    config = printed(train, "--config", FOLDER, "--data.root", folder, "--data.num_classes", "7")
    assert config["model"]["init_args"]["net"]["init_args"]["num_classes"] == 7
    assert printed(train, "--config", DIGITS, "--data.num_classes", "null")["data"]["init_args"]["num_classes"] == 10


def test_a_list_that_is_typed_keeps_what_no_file_can_hold(train: Train) -> None:
    typed = "[{class_path: torchvision.transforms.v2.ToDtype, init_args: {dtype: torch.float32, scale: true}}]"
    config = printed(train, "--config", DIGITS, "--data.num_classes", "null", "--data.eval_transform", typed)
    assert config["data"]["init_args"]["eval_transform"][0]["init_args"] == {"dtype": "torch.float32", "scale": True}


@pytest.mark.long
def test_transforms_may_refer_to_facts_too(train: Train, folder: str, tmp_path: Path) -> None:
    mix = {
        "class_path": "torchvision.transforms.v2.MixUp",
        "init_args": {"num_classes": "${data.init_args.num_classes}"},
    }
    loss = {
        "class_path": "torch.nn.CrossEntropyLoss",
        "init_args": {"weight": "${data.init_args.class_weights}"},
    }
    (tmp_path / "mix.yaml").write_text(
        yaml.safe_dump({"data": {"init_args": {"train_transform+": [mix]}}, "model": {"init_args": {"loss": loss}}})
    )
    words = ("--config", FOLDER, "--config", "mix.yaml", "--data.root", folder)
    config = printed(train, *words)
    assert config["data"]["init_args"]["train_transform"][-1]["init_args"]["num_classes"] == 3
    weights = config["model"]["init_args"]["loss"]["init_args"]["weight"]
    counts = [24, 33, 40]
    assert weights == pytest.approx([sum(counts) / 3 / count for count in counts], rel=0.05)
    result = train("--config", "mix.yaml", *words, *QUICK, "--run_name", "a")
    assert result.code == 0, result.err


def test_a_folder_trains_tests_and_predicts(train: Train, folder: str, tmp_path: Path) -> None:
    result = train("--config", FOLDER, "--data.root", folder, *QUICK, "--run_name", "a")
    assert (result.code, result.err) == (0, "")
    assert "3 classes: cat 24, dog " in result.out
    run = tmp_path / "logs/image_folder/a"
    model: Any = load_model(run / "checkpoints/best.ckpt")
    assert model.class_names == ["cat", "dog", "über"]
    saved = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["ImageFolderDataModule"]
    assert next(iter(saved["class_counts"].items())) == ("cat", 24)
    assert json.loads((run / "run.json").read_text())["best"].keys() == {"val/accuracy"}
    write_images(tmp_path / "new", 7)
    result = train("predict", "--config", FOLDER, "--data.predict_root", "new", "--data.root", "gone")
    assert result.code == 0, result.err
    header, *rows = (run / "predictions.csv").read_text().splitlines()
    assert header == "input,class,confidence"
    assert [row.split(",")[0] for row in rows] == [f"{k:03}.jpg" for k in range(7)]
    assert all(row.split(",")[1] in ["cat", "dog", "über"] for row in rows)


def test_without_a_test_split_nothing_is_tested_and_that_is_said(train: Train, folder: str) -> None:
    result = train("--config", FOLDER, "--data.root", folder, *QUICK, "--data.test_fraction", "0", "--run_name", "a")
    assert result.code == 0, result.err
    assert "the data has no test split: nothing is tested" in result.out
    assert "test/" not in result.out
    result = train("test", "--config", FOLDER)
    assert result.code == 2
    assert "the data has no test split; it has train, val" in result.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "data: trainworks.datamodules.ImageFolderDataModule needs root; write a value for it"),
        (["--data.root", "nowhere"], "data.root nowhere: no such folder"),
        (["--data.root", "ROOT", "--data.image_size", "small"], "data.init_args.image_size: expected int or null"),
        (["--data.root", "ROOT", "--data.storage", "ram"], "data.init_args.storage: expected 'auto', 'memory'"),
        (["--data.root", "ROOT", "--data.fold", "2"], r"data.fold must be in \[0, 1\), got 2"),
        (["--data.root", "ROOT", "--data.num_folds", "200"], "too few to make 200 parts"),
        (["--data.root", "ROOT", "--data.nope", "2"], "ImageFolderDataModule takes no 'nope'"),
        (
            ["--data.root", "ROOT", "--model.net.num_classes", "${data.init_args.nope}"],
            "data.nope is not set, and",
        ),
        (["--data.root", "ROOT", "--model.net.num_classes", "${model.nope}"], "refers to model.nope, which is not set"),
    ],
)
def test_mistakes_leave_no_run(train: Train, folder: str, tmp_path: Path, words: list[str], message: str) -> None:
    result = train("--config", FOLDER, *[folder if word == "ROOT" else word for word in words])
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert "Traceback" not in result.err
    assert len(result.err.splitlines()) <= 3
    assert re.search(message, result.err), result.err
    assert not (tmp_path / "logs").exists()


class Bag(nn.Module):
    """Classifies a padded sequence of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.EmbeddingBag(10, 4, padding_idx=9), nn.Linear(4, 2)

    def forward(self, numbers: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embed(numbers))
        return logits


def test_sequences_are_padded_by_a_collate_named_in_a_config(train: Train, tmp_path: Path) -> None:
    data = {
        "class_path": "trainworks.datamodules.VisionDataModule",
        "init_args": {
            "root": "x",
            "train_dataset": "trainworks.tests.datamodules.test_vision.Sentences",
            "collate": {"class_path": "trainworks.datamodules.transforms.PadSequences", "init_args": {"value": 9}},
            "num_workers": 0,
            "batch_size": 3,
            "val_fraction": 0.34,
        },
    }
    model = {
        "class_path": "trainworks.tests.examples.classifier.ClassifierModule",
        "init_args": {
            "net": "trainworks.tests.cli.test_facts.Bag",
            "loss": "torch.nn.CrossEntropyLoss",
            "optimizer": "torch.optim.Adam",
        },
    }
    (tmp_path / "words.yaml").write_text(yaml.safe_dump({"model": model, "data": data}))
    result = train("--config", "words.yaml", "--trainer.max_epochs", "1")
    assert (result.code, result.err) == (0, "")
    assert "data: train 4, val 2; 2 classes: '0' 2, '1' 2" in result.out
