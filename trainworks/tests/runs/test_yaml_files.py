"""What a run writes down as YAML is read back as it was, whatever its texts are."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import Tensor, nn

from trainworks.cli.config import resolve, with_data
from trainworks.runs.yaml_files import load_file, write_yaml
from trainworks.tests.conftest import Train, write_images

TEXTS = [
    "1e3", "1_000", "0x10", "0o17", "012", "0b1", "1.", ".5", "+1", "-1e-3", "12e03", "on", "off", "yes", "No",
    "y", "n", "~", "null", "Null", "nan", ".nan", ".inf", "-.INF", "true", "2024-01-01", "2024-01-01 10:00:00",
    "1:30", "190:20:30", "", " ", " a", "a ", "\t", "a\nb", "\n", "'", '"', "it's", "#", "a #b", "a: b", "a:",
    "- a", "? a", "[a", "{a}", "&a", "*a", "!a", "|", ">", "%a", "@a", "`a`", "a, b", "${x}", "$x", "$${x}",
    r"\${x}", r"\\${x}", "${", "a${b.c}d", "=", "<<", "\U0001f600", "naïve", "日本", "\u00a0", "---", "...",
    "C:\\x",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_comes_back(tmp_path: Path, text: str) -> None:
    content = {"value": text, "list": [text, "b"], "inside": {"more": {"x": text}}}
    (tmp_path / "config.yaml").write_text(write_yaml(content), encoding="utf-8")
    assert resolve(load_file(str(tmp_path / "config.yaml"))) == content
    named = {text: 1, "b": {text: text}}  # as the name of a metric
    (tmp_path / "config.yaml").write_text(write_yaml(named), encoding="utf-8")
    read = load_file(str(tmp_path / "config.yaml"))
    assert list(read) == [text, "b"] and list(read["b"]) == [text]


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    content = {"a": 1e-05, "b": 1000.0, "c": 3, "d": True, "e": None, "f": float("inf"), "g": [1, 2.5]}
    (tmp_path / "config.yaml").write_text(write_yaml(content))
    assert resolve(load_file(str(tmp_path / "config.yaml"))) == content
    assert yaml.safe_load(write_yaml(content)) == content


def test_what_the_data_tells_is_no_reference() -> None:
    config: dict[str, Any] = {"data": {"init_args": {}}, "model": "${data.init_args.class_names}"}
    assert with_data(config, {"class_names": ["${x}", "1e3"]})["model"] == ["${x}", "1e3"]


class Net(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(192, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.flatten(1).float())
        return logits


CONFIG = """
model:
  class_path: trainworks.tests.examples.classifier.ClassifierModule
  init_args:
    net:
      class_path: trainworks.tests.runs.test_yaml_files.Net
      init_args: {num_classes: "${data.init_args.num_classes}"}
    loss: torch.nn.CrossEntropyLoss
    optimizer: torch.optim.SGD
data:
  class_path: trainworks.datamodules.ImageFolderDataModule
  init_args: {root: images, image_size: 8, batch_size: 8}
trainer: {max_epochs: 2, limit_train_batches: 2, accelerator: cpu}
"""
FOLDERS = ("1e3", "on", "${x}", "a: b", "#1", "012", "2024-01-01", "null", "\U0001f600", " b ", "it's")


def test_classes_of_any_name_train_test_predict_and_continue(train: Train, tmp_path: Path) -> None:
    for name in FOLDERS:
        write_images(tmp_path / "images" / name, 6)
    (tmp_path / "1e3.yaml").write_text(CONFIG)
    result = train("--config", "1e3.yaml", "--run_name", "1e3", "--callbacks.figures", "null")
    assert (result.code, result.err) == (0, "")
    run = tmp_path / "logs/1e3/1e3"
    assert load_file(str(run / "config.yaml"))["experiment"] == "1e3"
    for words in (("test",), ("predict",), ("--resume", "auto"), ()):
        name = ("--run_name", "2024_01" if not words else "1e3")
        result = train(*words, "--config", "1e3.yaml" if words else str(run / "config.yaml"), *name)
        assert (result.code, result.err) == (0, ""), (words, result.err)
    predicted = (run / "predictions.csv").read_text().splitlines()
    assert {row.rsplit(",", 2)[1] for row in predicted[1:]} <= {*FOLDERS, '"a: b"'}
    assert (tmp_path / "logs/1e3/2024_01/config.yaml").read_text() == (run / "config.yaml").read_text()
