import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainworks.errors import UsageError
from trainworks.runs.files import shown_path
from trainworks.runs.find import newest_run, run_of_checkpoint
from trainworks.runs.run import Run
from trainworks.runtime.launch import is_main_process
from trainworks.tests.conftest import ROOT


def make_run(root: Path, name: str, start: str, best: bool = True) -> Run:
    run = Run(root / "exp" / name)
    (run.directory / "checkpoints").mkdir(parents=True)
    (run.directory / "config.yaml").write_text("a: 1")
    run.write({"start": start})
    if best:
        run.best_checkpoint.write_bytes(b"")
    return run


def test_newest_goes_by_the_start_of_the_run(tmp_path: Path) -> None:
    make_run(tmp_path, "a", "2026-01-02")
    make_run(tmp_path, "b", "2026-01-01")
    assert newest_run(str(tmp_path), "exp", None).directory.name == "a"
    assert newest_run(str(tmp_path), "exp", "b").directory.name == "b"


def test_a_broken_record_falls_back_to_the_folder_time(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a", "2026-01-02")
    (run.directory / "run.json").write_text("{")
    os.utime(run.directory, (0, 0))
    assert run.started == "1970-01-01T00:00:00.000+00:00"


def test_a_checkpoint_leads_to_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(Path("logs"), "a", "2026")
    assert run_of_checkpoint("logs/exp/a/checkpoints/best.ckpt").directory == Path("logs/exp/a")
    (tmp_path / "alone.ckpt").write_bytes(b"")
    with pytest.raises(UsageError, match=r"no config.yaml beside it .* copy the config.yaml of its run there"):
        run_of_checkpoint("alone.ckpt")
    with pytest.raises(UsageError, match=r"no such file \(did you mean best\?\)"):
        run_of_checkpoint("logs/exp/a/checkpoints/bst.ckpt")


def test_another_live_process_cannot_take_a_run_in_use(tmp_path: Path) -> None:
    run = Run.create(str(tmp_path), "exp", "a", None, makes=True)
    code = f"from trainworks.runs.run import Run; from pathlib import Path; Run(Path({str(run.directory)!r})).lock()"
    command = [sys.executable, "-c", code]
    held = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "is in use by another process; wait for it or stop it" in held.stderr
    run.unlock()
    assert subprocess.run(command, cwd=ROOT, timeout=60).returncode == 0


def test_two_processes_that_start_together_get_two_runs(tmp_path: Path) -> None:
    create = f"print(Run.create({str(tmp_path)!r}, 'e', None, None, makes=True).directory)"
    code = f"import time; from trainworks.runs.run import Run; {create}; time.sleep(1)"
    children = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert len({child.communicate(timeout=60)[0] for child in children}) == 4


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UsageError, match=r"n{300}: File name too long; choose another .*default_root_dir or --run_name"
    ):
        Run.create(str(tmp_path), "exp", "n" * 300, None, makes=True)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file/exp/a: Not a directory; choose another trainer.default_root_dir"):
        Run.create(str(tmp_path / "file"), "exp", "a", None, makes=True)
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "my runs/a") == "'my runs/a'" and shown_path(tmp_path / "runs/a") == "runs/a"


def test_a_discarded_run_leaves_nothing(tmp_path: Path) -> None:
    Run.create(str(tmp_path), "exp", "a", None, makes=True).discard()
    assert not (tmp_path / "exp").exists()


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    run = Run.create(str(tmp_path), "exp", "a", None, makes=True)
    run.start(0.0, ["fit"], {})
    run.finish(1, "went wrong", {"val/loss": float("nan"), "val/accuracy": 0.5}, {"best": {}})
    content = json.loads((run.directory / "run.json").read_text(), parse_constant=pytest.fail)
    assert content["metrics"] == {"val/loss": None, "val/accuracy": 0.5}
    run.add_evaluation("test", 0.0, ["test"], "best.ckpt", 0, {"test/loss": float("nan")})
    assert run.read()["evaluations"][0]["metrics"] == {"test/loss": None}
    assert (content["exit_status"], content["error"]) == (1, "went wrong")
    assert content["start"] == "1970-01-01T00:00:00.000+00:00"


def test_the_code_of_a_run_is_known_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainworks.runs.run.ROOT", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for number, text in enumerate(("a = 1\nb = 2\n", "a = 1\r\nb = 2\r\n", "a = 1\nb = 3\n")):
        (tmp_path / "own_network.py").write_bytes(text.encode())
        importlib.invalidate_caches()
        sys.modules.pop("own_network", None)
        importlib.import_module("own_network")
        run = Run.create(str(tmp_path), "exp", str(number), None, makes=True)
        run.start(0.0, ["fit"], {})
        found.append(run.read()["code"])
    monkeypatch.delitem(sys.modules, "own_network")
    assert [list(code) for code in found] == [["own_network.py"]] * 3
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("variables", "main"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "1"}, False),
        ({"LOCAL_RANK": "1"}, False),
        ({"NODE_RANK": "1"}, False),
        ({"NODE_RANK": "0", "LOCAL_RANK": "0"}, True),
    ],
)
def test_main_process(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], main: bool) -> None:
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_main_process() is main
