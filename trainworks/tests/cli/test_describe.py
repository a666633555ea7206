"""Where an error of the project's own code is placed."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from trainworks.cli import mistakes
from trainworks.root import OWN

CODE = """
def check(value):
    raise ValueError(f"value must be even, got {value}")


def read(text):
    return float(text)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(mistakes, "ROOT", tmp_path)
    (file := tmp_path / OWN / "mine.py").parent.mkdir()
    file.write_text(CODE)
    spec = importlib.util.spec_from_file_location("mine", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_check_says_all_there_is_to_say(own: ModuleType) -> None:
    with pytest.raises(ValueError, match="even") as caught:
        own.check(3)
    assert mistakes.describe(caught.value) == "value must be even, got 3"


def test_what_was_met_with_is_placed(own: ModuleType) -> None:
    with pytest.raises(ValueError, match="convert") as caught:
        own.read("x")
    wanted = "could not convert string to float: 'x'\n(ValueError in mine.py, line 7)"
    assert mistakes.describe(caught.value) == wanted
