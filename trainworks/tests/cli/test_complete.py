"""Completion in a real shell."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trainworks.tests.conftest import DIGITS, ROOT

SHELL = """source <({global_} --dest=-)
COMP_LINE="$1"; COMP_POINT=${{#COMP_LINE}}; COMP_TYPE=9
read -ra COMP_WORDS <<< "$COMP_LINE"; [[ "$COMP_LINE" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${{#COMP_WORDS[@]}}-1))
_python_argcomplete_global python; printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completions(line: str) -> list[str]:
    """Return what bash offers after a line typed in the project's folder."""
    global_ = Path(sys.executable).with_name("activate-global-python-argcomplete")
    environment = {"PATH": f"{global_.parent}:/usr/bin:/bin"}
    words = ["bash", "-c", SHELL.format(global_=global_), "bash", line]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [word.strip() for word in done.stdout.splitlines() if word.strip()]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_commands_files_keys_and_values_are_offered() -> None:
    assert completions("python train.py va") == ["validate"]
    file = str(Path(DIGITS).relative_to(ROOT))
    assert file in completions(f"python train.py --config {file[:-8]}")
    line = f"python train.py --config {file} --"
    assert "--run_name" in completions(line + "run")
    offered = completions(line + "model.optimizer.")
    assert "--model.optimizer.lr" in offered and not any("init_args" in word for word in offered)
    assert completions("python train.py --config configs/none.yaml --resu") == ["--resume"]
    assert completions("python train.py validate --calibrate t") == ["true"]
