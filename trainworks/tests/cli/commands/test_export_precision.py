"""export --precision and --metrics: a file whose metric is worse is not kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainworks.tests.conftest import PLAIN, Train

onnxruntime = pytest.importorskip("onnxruntime")
WORDS = ("--latency", "false", "--ckpt_path", "logs/arrays/a/checkpoints/last.ckpt")


class Uneven(nn.Module):
    """Tells which of two inputs is greater, by layers some of which take one huge number beside small ones."""

    def __init__(self, num_uneven: int, num_even: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(num_uneven + num_even))
        self.factors = [1e5] * num_uneven + [1.0] * num_even
        with torch.no_grad():
            for layer, factor in zip(self.layers, self.factors, strict=True):
                layer.weight.copy_(torch.eye(3))  # type: ignore[operator,union-attr]
                layer.weight[2, 2] = 1 / factor  # type: ignore[index,operator,union-attr]
                layer.bias.zero_()  # type: ignore[operator,union-attr]

    def forward(self, inputs: Tensor) -> Tensor:
        for layer, factor in zip(self.layers, self.factors, strict=True):
            inputs = layer(inputs * torch.tensor([1.0, 1.0, factor]))
        return inputs[:, :2]


def fit(train: Train, num_uneven: int, num_even: int) -> None:
    random = np.random.default_rng(0)
    inputs = np.concatenate([random.random((600, 2)), np.ones((600, 1))], axis=1).astype(np.float32)
    np.savez("a.npz", inputs=inputs, targets=inputs[:, :2].argmax(axis=1))
    net = {"class_path": f"{__name__}.Uneven", "init_args": {"num_uneven": num_uneven, "num_even": num_even}}
    accuracy = {"class_path": "torchmetrics.classification.MulticlassAccuracy", "init_args": {"num_classes": 2}}
    content: dict[str, Any] = {"net": net, "loss": "torch.nn.CrossEntropyLoss", "metrics": {"accuracy": accuracy}}
    content["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.0}}
    model = {"class_path": "trainworks.tests.examples.classifier.ClassifierModule", "init_args": content}
    data = {"class_path": "trainworks.datamodules.ArrayDataModule", "init_args": {"train": "a.npz"}}
    Path("arrays.yaml").write_text(json.dumps({"model": model, "data": data}))
    result = train("fit", "--config", "arrays.yaml", "--run_name", "a", "--trainer.max_epochs", "1", *PLAIN)
    assert result.code == 0, result.err


@pytest.mark.long
def test_layers_that_int8_ruins_stay_float(train: Train) -> None:
    fit(train, 2, 2)
    result = train("export", *WORDS, "--precision", "int8", "--output", "a.onnx")
    assert (result.code, result.err) == (0, "")
    assert "in float32, since int8 cost more than the tolerance: net.layers.0, net.layers.1" in result.out
    rows = {line.split()[0]: line.split() for line in result.out.splitlines() if line.startswith(("module", "a.onnx"))}
    assert rows["module"][-1] == "1" and float(rows["a.onnx"][-1]) >= 0.97
    session = onnxruntime.InferenceSession("a.onnx", providers=["CPUExecutionProvider"])
    known = session.get_modelmeta().custom_metadata_map
    assert json.loads(known["float32_layers"]) == ["net.layers.0", "net.layers.1"] and known["precision"] == '"int8"'
    (found,) = session.run(None, {"inputs": np.array([[0.9, 0.1, 1.0], [0.2, 0.7, 1.0]], np.float32)})
    assert found.argmax(axis=1).tolist() == [0, 1]


@pytest.mark.long
def test_what_int8_ruins_for_good_is_refused(train: Train) -> None:
    fit(train, 9, 0)
    result = train("export", *WORDS, "--precision", "int8", "--output", "out/a.onnx")
    assert result.code == 1 and "error: out/a.onnx is not written: val/accuracy is 0." in result.err
    assert "and 1.0000 of the module; tolerance 0.03" in result.err  # two of 54 samples
    assert "; with net.layers." in result.err and not [*Path("out").iterdir()]
    result = train("export", *WORDS, "--format", "all", "--output", "out/a.onnx")
    assert result.code == 0 and "out/a_int8.onnx is not written: val/accuracy is 0." in result.out
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.onnx", "a.pt2", "a_export.csv", "a_float16.onnx"]


@pytest.mark.long
def test_metrics_are_compared(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(train, 0, 1)
    result = train("export", *WORDS, "--metrics", "true", "--format", "pt2")
    assert (result.code, result.err) == (0, "")
    rows = [line.split() for line in result.out.splitlines() if line.startswith(("file", "module", "last"))]
    assert [row[-1] for row in rows[-3:]] == ["val/accuracy", "1", "1"]
    monkeypatch.setattr("trainworks.cli.exporting.compare.like", lambda expected, parts: -parts[0])
    monkeypatch.setattr("trainworks.cli.exporting.export.TOLERANCE", 10.0)
    for tolerance, code in ((), 1), (("--tolerance", "1.0"), 0):
        result = train("export", *WORDS, "--metrics", "true", "--format", "onnx", *tolerance)
        assert result.code == code
    Path("a.npz").unlink()
    result = train("export", *WORDS, "--metrics", "true")
    assert result.code == 2 and "metrics need validation samples; there are only random inputs" in result.err
