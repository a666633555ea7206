"""The searches of this project."""

import re

import pytest

from trainworks.testing import QUICK, ROOT, Train

pytest.importorskip("optuna")


def test_every_search_of_the_project_is_sound(train: Train) -> None:
    for path in sorted((ROOT / "configs" / "sweeps").glob("*.yaml")):
        command = re.findall(r"^# python train.py (.*)$", path.read_text(), re.MULTILINE)[0]
        words = [str(ROOT / word) if word.startswith("configs/") else word for word in command.split()]
        result = train(*words, *QUICK[2:], "--trainer.max_epochs", "1", "--data.no_such_key", "1")
        assert result.code == 2 and "no_such_key" in result.err
