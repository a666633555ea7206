"""`check` without a configuration: what this machine is."""

import os
from collections import namedtuple
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from trainworks.cli import machine
from trainworks.tests.conftest import Train

Usage = namedtuple("Usage", "total used free")


def rows(out: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in out.splitlines() if "  " in line)


def test_the_machine_is_described_for_a_bug_report(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_is_installed", lambda name: name.startswith("timm"))
    result = train("check")
    assert (result.code, result.err) == (0, "")
    found = rows(result.out)
    assert found["torch"] == version("torch")
    assert found["cores"].startswith(f"{len(os.sched_getaffinity(0))} allowed of {os.cpu_count()}")
    assert found["threads"] == "at most 1 (OMP_NUM_THREADS=1)"
    assert {"system", "python", "lightning", "memory", "disk", "cuda", "extras"} <= found.keys()
    assert found["extras"] == "timm"
    assert "\nnot installed  safetensors, onnx, " in result.out
    assert not {str(Path.home()), str(Path.cwd())} & {*result.out.split()}


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({}, None),
        ({"threads": 99}, "99 threads on "),
        ({"shm": 64 << 20}, "/dev/shm is small, and loader workers pass batches through it: start the container with"),
        ({"disk": 1 << 30}, "the disk is nearly full"),
        ({"driver": "NVRM version: NVIDIA UNIX Open Kernel Module  580.95.05  Release"}, "torch finds no GPU; it was"),
    ],
)
def test_what_is_amiss_gets_one_line_of_advice(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], advice: str | None
) -> None:
    def usage(path: Any) -> Usage:
        size = change.get("shm" if str(path) == "/dev/shm" else "disk", 100 << 30)
        return Usage(size, 0, size)

    (tmp_path / "version").write_text(change.get("driver", ""))
    monkeypatch.setattr(machine, "DRIVER_VERSION", tmp_path / "version")
    monkeypatch.setattr(machine.shutil, "disk_usage", usage)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: change.get("threads", 1))
    result = train("check")
    assert result.code == 0
    assert rows(result.out)["gpu"] == "none"
    if advice is None:
        assert "\n\n" not in result.out
    else:
        assert result.out.split("\n\n")[1].startswith(advice)
        assert ("driver 580.95.05" in result.out) == ("driver" in change)
