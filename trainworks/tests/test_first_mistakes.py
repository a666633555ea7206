"""train.py where the environment was not activated: everybody's first mistake."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from trainworks.tests.conftest import ROOT

HOW = "activate your environment (. .venv/bin/activate), or make one of Python 3.11 or newer (pip install -e .)\n"


def run(*command: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run([*command, str(ROOT / "train.py")], capture_output=True, text=True, env=environment)
    return done.returncode, done.stderr


def test_a_python_without_the_packages(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", symlinks=True)
    (python,) = (tmp_path / "bare").glob("*/python")
    expected = f"error: {python} has no torch, torchvision, lightning, omegaconf; {HOW}"
    assert run(str(python)) == (2, expected)


def test_a_python_that_is_too_old(tmp_path: Path) -> None:
    """With packages that can be found, as in an environment of another project."""
    names = [f"{folder}/python3.{minor}" for minor in (6, 7, 8, 9, 10) for folder in ("/usr/bin", "/usr/local/bin")]
    versions = [
        str(path) for minor in (8, 9, 10) for path in Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python")
    ]
    if not (found := [name for name in (*names, *versions) if shutil.which(name)]):
        pytest.skip("this system has no Python older than 3.11")
    for name in ("torch", "torchvision", "lightning", "omegaconf"):
        (tmp_path / f"{name}.py").touch()
    assert run(found[-1], PYTHONPATH=str(tmp_path)) == (2, f"error: {found[-1]} has no features of 3.11; {HOW}")


def test_this_python_is_none_of_them() -> None:
    assert run(sys.executable, "-W", "ignore")[1].startswith("error: nothing to do; write python train.py")
