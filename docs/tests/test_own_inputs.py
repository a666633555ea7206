"""Samples of different length train, and inputs of one's own are read, as docs/data.md and docs/tasks.md say."""

import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from trainworks import load_model
from trainworks.testing import PLAIN, ROOT, Train

HEAD = """
import json
from dataclasses import dataclass
from pathlib import Path
import torch
from torch import Tensor, nn
from trainworks import ArrayDataset, BaseDataModule
"""
MODEL = """
model:
  class_path: src.models.classifier.ClassifierModule
  init_args: {net: {class_path: NET}, loss: torch.nn.CrossEntropyLoss,
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.05}}}
trainer: {accelerator: cpu, max_epochs: 8}
"""
SEQUENCES = """
@dataclass(kw_only=True, eq=False, repr=False)
class SequencesDataModule(BaseDataModule):
    def load_splits(self):
        return {"all": [(torch.full((5 + k % 7, 2), float(k % 3)), k % 3) for k in range(60)]}
"""
RUN = "logs/{}/a/checkpoints/last.ckpt"
Own = Callable[[str], None]


def block(page: str, language: str, word: str) -> str:
    """Return the block of a page that holds a word."""
    blocks = re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    (found,) = (text for text in blocks if word in text)
    return str(found)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Own:
    """Return what makes a module called `own` of code, which configurations may name."""

    def make(code: str) -> None:
        module = ModuleType("own")
        monkeypatch.setitem(sys.modules, "own", module)
        exec(HEAD + code, vars(module))

    return make


def rows_of(path: str = "out.csv") -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_sequences_of_different_length(train: Train, own: Own, tmp_path: Path) -> None:
    own(block("data.md", "python", "MeanOverTime") + SEQUENCES)
    net = "own.MeanOverTime, init_args: {num_features: 2, num_classes: 3}"
    data = "data: {class_path: own.SequencesDataModule, init_args: {batch_size: 8}}"
    (tmp_path / "seq.yaml").write_text(MODEL.replace("NET", net) + data)
    (tmp_path / "pad.yaml").write_text(block("data.md", "yaml", "PadSequences"))
    words = ("--config", "seq.yaml", "--config", "pad.yaml", "--run_name", "a")
    result = train("fit", *words, *PLAIN)
    assert (result.code, result.err) == (0, ""), result.err
    inputs = [np.full((length, 2), float(length % 3), np.float32) for length in (4, 30, 11)]
    model = load_model(RUN.format("seq"))
    expected = [model.predict(item).label for item in inputs]
    assert expected == ["1", "0", "2"] == [found.label for found in model.predict(inputs)]
    with pytest.raises(
        ValueError, match=r"an input must be float32 of shape \(any, 2\), got float64 of shape \(5, 3\)"
    ):
        model.predict(np.zeros((5, 3)))
    (tmp_path / "new").mkdir()
    for number, item in enumerate([*inputs, np.zeros((2, 3))]):
        np.save(tmp_path / f"new/{number}.npy", item)
    result = train("predict", *words, "--input", "new", "--output", "out.csv")
    assert result.code == 0, result.err
    assert [row["class"] for row in rows_of()] == [*expected, ""] and "(any, 2), got" in rows_of()[3]["error"]
    result = train("export", "--ckpt_path", RUN.format("seq"), "--format", "pt2")
    assert result.code == 2 and "takes more than one tensor as inputs" in result.err


def test_inputs_of_a_datamodule_of_ones_own(train: Train, own: Own, tmp_path: Path) -> None:
    own(block("tasks.md", "python", "RecordsDataModule"))
    records = [{"width": k % 2 + k / 100, "height": -(k % 2), "kind": k % 2} for k in range(60)]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    net = "torch.nn.Linear, init_args: {in_features: 2, out_features: 2}"
    (tmp_path / "own.yaml").write_text(MODEL.replace("NET", net))
    words = (
        "--config",
        "own.yaml",
        "--data",
        "own.RecordsDataModule",
        "--data.path",
        "records.jsonl",
        "--run_name",
        "a",
    )
    result = train("fit", *words, *PLAIN)
    assert (result.code, result.err) == (0, ""), result.err
    (tmp_path / "new.jsonl").write_text('{"width": 1, "height": -1}\n{"width": 1}\nno\n{"width": 0, "height": 0}\n')
    result = train("predict", *words, "--input", "new.jsonl", "--output", "out.csv")
    assert result.code == 0, result.err
    assert [row["class"] for row in rows_of()] == ["1", "", "", "0"]
    assert [row["error"][:16] for row in rows_of()] == ["", "KeyError: 'heigh", "JSONDecodeError:", ""]
    model: Any = load_model(RUN.format("own"))
    assert model.predict({"width": 1, "height": -1}).label == "1"
    assert [found.label for found in model.predict([{"width": 0, "height": 0}, '{"width": 1, "height": -1}'])] == [
        "0",
        "1",
    ]
    result = train("export", "--ckpt_path", RUN.format("own"), "--format", "pt2", "--latency", "false")
    assert result.code == 0 and "validation samples" in result.out, result.err
    known = {"metadata.json": ""}
    torch.export.load(RUN.format("own").replace(".ckpt", ".pt2"), extra_files=known)
    assert json.loads(known["metadata.json"])["inputs"] == {"dtype": "float32", "shape": ["batch", 2]}
