"""What docs/api.md calls public is there, has a docstring, and is all that a project uses of the library."""

import ast
import re
from pathlib import Path

import pytest
import torch
import yaml

from docs.make_api import (
    BASES,
    CHECKPOINT,
    CONSTANTS,
    ENVIRONMENT,
    KEYS,
    PACKAGES,
    PAGE,
    first_sentence,
    methods,
    page,
    public,
)
from trainworks.cli.projects.closure import imported
from trainworks.root import OWN
from trainworks.testing import QUICK, ROOT, Train

DIGITS = str(ROOT / "configs" / "digits.yaml")
PATH = re.compile(r"\btrainworks(?:\.\w+)+")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_page_is_what_the_command_writes() -> None:
    assert page() == PAGE.read_text(encoding="utf-8"), "run python -m docs.make_api"


def test_every_public_name_has_a_docstring() -> None:
    assert len(public()) > 80
    assert [path for path in public() if not first_sentence(path).endswith(".")] == []
    of_bases = {f"{path}.{name}": text for path in BASES for name, text in methods(path)}
    assert len(of_bases) > 30 and [name for name, text in of_bases.items() if not text.endswith(".")] == []
    assert {path.rpartition(".")[2] for path in public()} >= CONSTANTS.keys()


@pytest.mark.parametrize("folder", [OWN, "tests"])
def test_all_that_a_project_imports_is_public(folder: str) -> None:
    found = sorted((ROOT / folder).rglob("*.py"))
    used = [(file, path) for file in found for path in imported(file) if path.startswith("trainworks")]
    assert len(used) > 20
    assert [f"{file.relative_to(ROOT)} imports {path}" for file, path in used if path not in public()] == []


def test_all_that_configs_and_pages_name_is_public() -> None:
    configs = sorted((ROOT / "configs").rglob("*.yaml"))
    named = {path for file in configs for path in PATH.findall(file.read_text())}
    assert len(named) > 15 and named - public().keys() - {"trainworks.defaults.yaml"} == set()
    blocks = [block for file in PAGES for block in re.findall(r"```(?:yaml|python)\n(.*?)```", file.read_text(), re.S)]
    shown = {path for block in blocks for path in PATH.findall(re.sub(r"from (\S+) import (\w+)", r"\1.\2", block))}
    assert len(shown) > 10 and shown - public().keys() - PACKAGES.keys() == set()


def test_keys_are_those_of_a_configuration(train: Train) -> None:
    result = train("--config", DIGITS, "--print_config")
    assert yaml.safe_load(result.out).keys() == KEYS.keys()


def test_keys_are_those_of_a_checkpoint(train: Train, tmp_path: Path) -> None:
    assert train("fit", "--config", DIGITS, "--run_name", "a", *QUICK).code == 0
    best, last = (
        torch.load(tmp_path / f"logs/digits/a/checkpoints/{name}.ckpt", weights_only=True) for name in ("best", "last")
    )
    data = {"<name of the datamodule's class>": "DigitsDataModule"}
    known = [data.get(key, key) for key in CHECKPOINT]
    assert set(last) == {*known, "python_types"} and set(known) - set(best) == {"exact"}


def test_variables_are_those_that_the_library_reads() -> None:
    texts = set[str]()
    for file in (ROOT / "trainworks").rglob("*.py"):
        nodes = ast.walk(ast.parse(file.read_text()))
        texts |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    own = {name for name in ENVIRONMENT if name.startswith(("TRAIN_", "OMP_"))}
    assert len(own) == 3 and own <= texts
