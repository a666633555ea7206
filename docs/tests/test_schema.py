"""What editors are told of configurations holds for this project's own."""

from pathlib import Path

import pytest

from trainworks.runs.yaml_files import load_file
from trainworks.testing import ROOT
from trainworks.tests.cli.commands.test_schema import check_files, make_validator


@pytest.mark.reach
def test_configs_are_valid_and_point_to_the_schema_and_own_classes_are_known(tmp_path: Path) -> None:
    validator = make_validator(tmp_path / "schema.json")
    files = [*sorted((ROOT / "configs").glob("*.yaml")), *sorted((ROOT / "configs/overlays").glob("*.yaml"))]
    check_files(validator, files, ROOT / "configs/schema.json")
    text, file = (ROOT / "configs/digits.yaml").read_text(), tmp_path / "wrong.yaml"
    for wrong in ("ClasifierModule", "ClassifierModule\n  init_arg:"):
        assert "ClassifierModule" in text
        file.write_text(text.replace("ClassifierModule", wrong))
        assert not validator.is_valid(load_file(str(file))), wrong
