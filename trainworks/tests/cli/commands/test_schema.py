"""schema: what editors are told of configurations holds for all of them, and for no wrong ones."""

import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from trainworks.runs.yaml_files import load_file
from trainworks.tests import examples
from trainworks.tests.conftest import CONFIGS, DIGITS, ROOT, Train

EXAMPLES = [module.name for module in pkgutil.walk_packages(examples.__path__, f"{examples.__name__}.")]
LINE = re.compile(r"^# yaml-language-server: \$schema=(.*)$", re.MULTILINE)
WRONG = {  # texts of the digits' configuration, and what to write instead of them
    "max_epochs: 20": ["max_epoch: 20", "max_epochs: many", "strategy: {class_path: lightning.pytorch.strategies.DPS}"],
    "torch.optim.AdamW": ["torch.optim.AdamV"],
    "lr: 0.005": ["rate: 0.005", "lr: [1]"],
    "ClassifierModule": ["ClasifierModule"],
    "torch.nn.CrossEntropyLoss": ["torch.nn.CrosEntropyLoss"],
    "batch_size: 64": ["batch_size: {a: 64}", "batchsize: 64"],
    "average: micro": ["average: mikro"],
    "{pixels: 1}": ["{pixel: 1}"],
    "dtype: torch.float32": ["dtype: torch.float33"],
}
FINE = [
    "model: my_module.MyModule",  # what the schema cannot know is let through
    "model: {class_path: my_module.MyModule, init_args: {a: 1}}",
    "model: {init_args: {net: torchvision.models.resnet18, optimizer: {class_path: bitsandbytes.AdamW8bit}}}",
    "model: {init_args: {optimizer: AdamW, net: {class_path: timm.create_model, init_args: {model_name: a}}}}",
    "model: {init_args: {scheduler: {class_path: torch.optim.lr_scheduler.CosineAnnealingLR}}}",
    "callbacks: {best: {init_args: {monitor: a}}, mine: {class_path: my.Callback}, notes: null}",
    "data: {init_args: {'train_transform+': [torchvision.transforms.v2.ToImage]}}",
    "trainer: {precision: bf16-mixed, strategy: ddp, devices: [0, 1], 'callbacks+': [my.Callback]}",
]


def make_validator(file: Path, *modules: str) -> Any:
    """Run the command in a process that knows further modules, and return what it wrote."""
    program = "\n".join([f"import {module}" for module in modules] + ["from trainworks.cli.main import main"])
    words = [sys.executable, "-c", f"{program}\nraise SystemExit(main(['schema', '--output', {str(file)!r}]))"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and f"{file}: editors" in done.stdout
    return jsonschema_rs.Draft202012Validator(json.loads(file.read_text()))  # which checks the schema itself too


def check_files(validator: Any, files: list[Path], schema: Path | None = None) -> None:
    """See that files are valid, and point to the file of the schema if it is given."""
    assert files
    for path in files:
        assert [error.message for error in validator.iter_errors(load_file(str(path)))] == [], path
        if schema is not None:
            assert (path.parent / LINE.findall(path.read_text())[0]).resolve() == schema, path


@pytest.mark.reach
def test_configs_are_valid_and_point_to_the_schema_and_mistakes_are_found(tmp_path: Path) -> None:
    validator = make_validator(tmp_path / "schema.json", *EXAMPLES)
    check_files(validator, [*sorted(CONFIGS.glob("*.yaml")), *sorted((CONFIGS / "overlays").glob("*.yaml"))])
    check_files(validator, [ROOT / "trainworks/defaults.yaml"], ROOT / "configs/schema.json")
    text, file = Path(DIGITS).read_text(), tmp_path / "wrong.yaml"
    for right, wrongs in WRONG.items():
        for wrong in wrongs:
            assert right in text
            file.write_text(text.replace(right, wrong))
            assert not validator.is_valid(load_file(str(file))), wrong
    for text in FINE:
        file.write_text(text)
        assert [error.message for error in validator.iter_errors(load_file(str(file)))] == [], text


def test_an_output_that_cannot_be_written(train: Train) -> None:
    result = train("schema", "--output", "missing/schema.json")
    assert (result.code, result.err) == (2, "error: --output: missing is no folder\n")
