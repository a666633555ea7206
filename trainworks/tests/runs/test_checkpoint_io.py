"""Checkpoint files against real trouble: a process killed while it writes, a full disk."""

import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trainworks.errors import RunFailure
from trainworks.runs.checkpoint_io import DurableCheckpointIO, write_checkpoint
from trainworks.runs.plain_data import UntrustedFile
from trainworks.tests.conftest import DIGITS, PLAIN, ROOT, Train, same_weights


def test_what_is_saved_is_loaded_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    DurableCheckpointIO().save_checkpoint({"a": torch.arange(3)}, tmp_path / "deep" / "x.ckpt")
    assert DurableCheckpointIO().load_checkpoint(tmp_path / "deep" / "x.ckpt")["a"].tolist() == [0, 1, 2]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.ckpt"]


def test_only_plain_data_is_loaded(tmp_path: Path) -> None:
    torch.save({"a": Path("x")}, tmp_path / "x.ckpt")
    kind = f"{type(Path()).__module__}.PosixPath"  # pathlib._local in Python 3.13
    with pytest.raises(UntrustedFile, match=rf"holds {re.escape(kind)}, which could run code; none was run"):
        DurableCheckpointIO().load_checkpoint(tmp_path / "x.ckpt", weights_only=False)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.ckpt").symlink_to("x.ckpt")
    DurableCheckpointIO().save_checkpoint({"a": 1}, tmp_path / "link.ckpt")
    assert (tmp_path / "link.ckpt").is_symlink()
    assert torch.load(tmp_path / "x.ckpt", weights_only=True) == {"a": 1}


WRITER = """
import sys, torch
from trainworks.runs.checkpoint_io import DurableCheckpointIO
number, writer = 0, DurableCheckpointIO({})
tensors = {{str(k): torch.zeros(250_000) for k in range(8)}}
while True:
    number += 1
    for tensor in tensors.values():
        tensor.fill_(number)
    writer.save_checkpoint(tensors, sys.argv[1])
    print(number, flush=True)
"""


@pytest.mark.kills
@pytest.mark.parametrize("background_mb", ["0", "None"])
def test_a_process_killed_while_it_writes_leaves_a_whole_file(tmp_path: Path, background_mb: str) -> None:
    path = tmp_path / "x.ckpt"
    for kill in range(5):
        command = [sys.executable, "-c", WRITER.format(background_mb), str(path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(3):  # the first is written by then
                process.stdout.readline()
            time.sleep(0.01 * kill)  # somewhere in a later write
            process.send_signal(signal.SIGKILL)
        values = {int(v) for tensor in torch.load(path, weights_only=True).values() for v in tensor.unique()}
        assert len(values) == 1


def test_what_is_written_in_the_background_is_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, path, order = DurableCheckpointIO(background_mb=0), tmp_path / "x.ckpt", list[str]()
    may_write = threading.Event()

    def slow(checkpoint: dict[str, Any], target: Path) -> None:
        may_write.wait(30)
        order.append(target.name)
        write_checkpoint(checkpoint, target)

    monkeypatch.setattr("trainworks.runs.checkpoint_io.write_checkpoint", slow)
    weight, states = torch.zeros(100_000), {"count": 1}
    content = {"state_dict": {"a": weight, "tied": weight.view(10, -1)}, "states": states}
    writer.save_checkpoint(content, path)
    weight.fill_(1.0)  # the training goes on
    states["count"] = 2
    writer.save_checkpoint(content, tmp_path / "y.ckpt")
    assert not path.exists()
    third = threading.Thread(target=writer.save_checkpoint, args=(content, path))
    third.start()
    third.join(0.2)
    assert third.is_alive()  # two are on their way, so the third waits
    may_write.set()
    third.join()
    writer.wait()
    assert order == ["x.ckpt", "y.ckpt", "x.ckpt"]
    weight.fill_(2.0)
    for name, value in (("x", 1.0), ("y", 1.0)):
        found = torch.load(tmp_path / f"{name}.ckpt", weights_only=True)
        assert set(found["state_dict"]["a"].tolist()) == {value} and found["states"] == {"count": 2}
    writer.save_checkpoint(content, path)
    found = writer.load_checkpoint(path)  # which waits
    assert found["state_dict"]["tied"].shape == (10, 10_000) and set(found["state_dict"]["a"].tolist()) == {2.0}
    writer.save_checkpoint(content, tmp_path / "y.ckpt")
    writer.remove_checkpoint(tmp_path / "y.ckpt")  # of an epoch that was better for a moment
    writer.wait()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["x.ckpt"]


def test_the_first_state_is_kept_as_it_was(tmp_path: Path) -> None:
    writer, weight = DurableCheckpointIO(background_mb=0.1), torch.zeros(100_000)
    tied = {"a": weight, "b": weight.detach(), "small": torch.zeros(3, requires_grad=True)}
    writer.save_checkpoint(tied, tmp_path / "x.ckpt")
    weight.fill_(1.0)
    writer.teardown()
    found = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert not found["a"].any() and found["a"].data_ptr() == found["b"].data_ptr()
    assert (tmp_path / "x.ckpt").stat().st_size < 500_000  # both names lead to one tensor, as in the network


def test_what_prevented_a_write_in_the_background_is_told(tmp_path: Path) -> None:
    writer, folder = DurableCheckpointIO(background_mb=0), tmp_path / "no"
    folder.touch()  # a file where a folder should be
    writer.save_checkpoint({"a": torch.zeros(10)}, folder / "x.ckpt")
    with pytest.raises((RunFailure, OSError)):
        writer.teardown()
    writer.teardown()  # told once


@pytest.mark.long
def test_a_training_that_saves_in_the_background_is_the_same(train: Train, tmp_path: Path) -> None:
    words = ("fit", "--config", DIGITS, "--trainer.max_epochs", "3", "--callbacks.last.every_n_steps", "2", *PLAIN)
    plugin = "{class_path: trainworks.runs.checkpoint_io.DurableCheckpointIO, init_args: {background_mb: 0}}"
    for name, more in {"a": (), "b": ("--trainer.plugins+", plugin)}.items():
        result = train(*words, "--run_name", name, *more)
        assert result.code == 0, result.err
    assert same_weights(tmp_path / "logs/digits/a", tmp_path / "logs/digits/b")
    folders = [sorted(p.name for p in (tmp_path / f"logs/digits/{name}/checkpoints").iterdir()) for name in "ab"]
    assert folders[0] == folders[1]
    assert train("test", "--config", DIGITS, "--run_name", "b").code == 0


def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: what is written beyond it fails as there."""
    path = tmp_path / "x.ckpt"
    DurableCheckpointIO().save_checkpoint({"a": torch.zeros(10)}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(RunFailure, match=r"x.ckpt could not be written: it needs about 8.0 MB, .* still there"):
            DurableCheckpointIO().save_checkpoint({"a": torch.zeros(2_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert torch.load(path, weights_only=True)["a"].tolist() == [0.0] * 10
    assert [item.name for item in tmp_path.iterdir()] == ["x.ckpt"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A small file system of its own; calling it again changes its size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: str) -> Path:
        options = f"size={size}" + (",remount" if folder.is_mount() else "")
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this system mounts no tmpfs")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_file_system_leaves_the_old_file_whole(disk: Callable[[str], Path]) -> None:
    path = disk("2m") / "x.ckpt"
    DurableCheckpointIO().save_checkpoint({"a": torch.zeros(10)}, path)
    with pytest.raises(RunFailure, match=r"needs about 8.0 MB, 2.\d MB are free; the one before it is still there"):
        DurableCheckpointIO().save_checkpoint({"a": torch.zeros(2_000_000)}, path)
    assert torch.load(path, weights_only=True)["a"].tolist() == [0.0] * 10
    assert [item.name for item in path.parent.iterdir()] == ["x.ckpt"]


@pytest.mark.kills
def test_a_training_that_filled_the_disk_goes_on_when_there_is_room(
    disk: Callable[[str], Path], train_process: Train, tmp_path: Path
) -> None:
    words = ("--config", DIGITS, "--trainer.max_epochs", "4")
    assert train_process(*words, "--run_name", "whole").code == 0
    small = (*words, "--run_name", "a", "--trainer.default_root_dir", str(disk("1200k")), "--resume", "auto")
    result = train_process(*small)
    assert result.code == 1
    assert (
        "could not be written: it needs about 0.3 MB, 0.1 MB are free; the one before it is still there" in result.err
    )
    assert "Traceback" not in result.err
    disk("20m")
    result = train_process(*small)
    assert result.code == 0, result.err
    assert "continues from" in result.out
    one, other = (
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for folder in (tmp_path / "logs/digits/whole", tmp_path / "disk/digits/a")
    )
    assert all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.kills
def test_a_disk_that_is_full_from_the_start_is_one_message(disk: Callable[[str], Path], train_process: Train) -> None:
    folder = disk("400k")
    (folder / "fill").write_bytes(bytes(395_000))
    result = train_process("--config", DIGITS, "--trainer.default_root_dir", str(folder))
    assert result.code == 1
    # TensorBoard's thread may print its own trouble meanwhile
    assert "error: no space left on the disk; make room, then continue with --resume" in result.err
