"""Projects that `new` makes of this template; how new, add and update work is tested with the library."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainworks.testing import ROOT, Train

LIKE = {  # a config of each task
    "digits": "classifier",
    "image_folder": "classifier",
    "multilabel": "multilabel",
    "diabetes": "regressor",
    "segmentation": "segmenter",
    "detection": "detector",
    "gan": "gan",
    "gpt": "language_model",
    "vae": "vae",
}
OTHERS = sorted({path.stem for path in (ROOT / "configs").glob("*.yaml")} - {*LIKE, "defaults"})


def run(folder: Path, *words: str) -> None:
    shared = folder.parent.parent / "mypy"  # what it knows of torch, by this worker's projects
    words = (words[0], "--cache-dir", str(shared)) if words == ("mypy",) else words
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_project_of_the_digits_is_small(train: Train, tmp_path: Path) -> None:
    result = train("new", "leaves", "--config", str(ROOT / "configs/digits.yaml"))
    assert (result.code, result.err) == (0, "")
    found = re.search(r"yours: (\d+) lines of Python in src/", result.out)
    lines = [len(path.read_text().splitlines()) for path in (tmp_path / "leaves/src").rglob("*.py")]
    assert found and int(found[1]) == sum(lines) <= 300
    configs = {path.name for path in (tmp_path / "leaves/configs").glob("*.yaml")}
    assert configs == {"defaults.yaml", "digits.yaml"}
    overlays = [{path.name for path in (root / "configs/overlays").iterdir()} for root in (ROOT, tmp_path / "leaves")]
    assert overlays[0] == overlays[1]


@pytest.mark.long
@pytest.mark.parametrize(("config", "like"), LIKE.items())
def test_a_new_task_is_green_before_the_first_edit(train: Train, tmp_path: Path, config: str, like: str) -> None:
    words = ("--config", f"{ROOT}/configs/{config}.yaml", "--task", "angle", "--like", like)
    result = train("new", "p", *words)
    assert result.code == 0, result.err
    project = tmp_path / "p"
    made = re.findall(r"to fill in: (\S+)", result.out)
    assert sorted(made) == [
        "configs/angle.yaml",
        "src/datamodules/angle.py",
        "src/models/angle.py",
        "tests/models/test_angle.py",
    ]
    marks = [mark for name in made for mark in re.findall(r"FILL IN (\d) of", (project / name).read_text())]
    assert sorted(marks) == [str(number) for number in range(1, len(marks) + 1)] and len(marks) >= 3
    chosen = () if config == "digits" else ("-k", "not overlays")  # which the tests here combine with each module
    for tool in (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",), ("pytest", "-q", "-n", "0", *chosen)):
        run(project, *tool)


@pytest.mark.long
@pytest.mark.parametrize("config", OTHERS)
def test_a_project_has_all_that_its_config_needs(train: Train, tmp_path: Path, config: str) -> None:
    result = train("new", "p", "--config", f"{ROOT}/configs/{config}.yaml")
    assert result.code == 0, result.err
    run(tmp_path / "p", "pytest", "-q", "-n", "0", "-k", "runs_for_a_batch")
