"""Export torchvision's classifiers and compare what the files say: python -m benchmarks.export_networks [NAME ...].

Weights are random, images too; a file runs in a process of its own. Prints a line a network: each format's greatest
difference to the module's probabilities, or why there is no file.
"""

import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace

import torch
import torchvision
from torch import nn
from torch.optim import AdamW
from torchvision.transforms import v2

from src.models.classifier import ClassifierModule
from trainworks.cli.exporting.compare import greatest_difference
from trainworks.cli.exporting.exported import Exported, as_onnx, traced, write
from trainworks.errors import RunFailure

IMAGES = 2


def main(names: list[str]) -> None:
    """Try these networks, or all of them."""
    print("| network | onnx | pt2 |\n| --- | --- | --- |")
    for name in names or torchvision.models.list_models(module=torchvision.models):
        torch.manual_seed(0)
        with warnings.catch_warnings(action="ignore"):  # of a coming default
            net = torchvision.models.get_model(name, num_classes=10)
        size = 299 if name == "inception_v3" else 224
        data = SimpleNamespace(eval_transform=[v2.ToDtype(torch.float32, scale=True)], form=None, input_shape=None)
        images = torch.randint(256, (IMAGES, 3, size, size), dtype=torch.uint8)
        for layer in net.modules():  # statistics of these images, or outputs say nothing of what went in
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0
        with torch.no_grad():
            for weight in net.parameters():  # a head of zeros, as that of ViT, would say nothing either
                if not weight.any():
                    nn.init.normal_(weight, std=0.02)
            net.train()(images / 255)
        exported = Exported(ClassifierModule(net=net, loss=nn.CrossEntropyLoss(), optimizer=AdamW), data, images).eval()
        print(f"| {name} | {' | '.join(cells_of(exported, images))} |", flush=True)


def cells_of(exported: Exported, images: torch.Tensor) -> list[str]:
    """Return the greatest difference of each format's file, or why there is none."""
    try:
        program, outputs = traced(exported, images)
    except RunFailure as error:
        return [str(error).removeprefix("ClassifierModule ")] * 2
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("onnx", "pt2"):
            path = Path(folder, f"a.{kind}")
            try:
                write(as_onnx(exported, program, outputs) if kind == "onnx" else program, path, {})
                cells.append(f"{greatest_difference(exported, images, path):.0e}")
            except RunFailure as error:
                cells.append(str(error).removeprefix("ClassifierModule "))
    return cells


if __name__ == "__main__":
    main(sys.argv[1:])
