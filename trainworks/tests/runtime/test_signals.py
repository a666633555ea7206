"""Real processes asked to stop: they finish the step, save, and say so; continued, they end as if nothing had been."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from trainworks.cli.main import main
from trainworks.tests.conftest import DIGITS, ROOT, Train
from trainworks.tests.test_exact_resume import compare

WORDS = (
    "--config",
    DIGITS,
    "--trainer.max_epochs",
    "40",
    "--trainer.log_every_n_steps",
    "1",
    "--model.net.layers",
    "[4]",
)
TWO = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")
Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Start `python train.py` in a process group of its own and wait until it trains."""
    started: list[subprocess.Popen[str]] = []

    def start(
        *words: str, epochs: int = 2, hangup: signal.Handlers = signal.SIG_DFL, **environment: str
    ) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", str(ROOT / "train.py"), *WORDS, "--run_name", "a", *words]
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**os.environ, **environment}, preexec_fn=lambda: signal.signal(signal.SIGHUP, hangup),
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"epoch {epochs:>2}/"):
                return process
        raise AssertionError("it ended before it trained")

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The undisturbed run, of this process."""
    folder = tmp_path_factory.mktemp("whole")
    assert main([*WORDS, "--run_name", "whole", "--trainer.default_root_dir", str(folder)]) == 0
    return folder / "digits/whole"


@pytest.mark.kills
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("words", [(), ("--data.num_workers", "2"), ("--trainer.accumulate_grad_batches", "3")])
def test_the_step_is_finished_and_saved(
    begin: Begin, train: Train, tmp_path: Path, signum: int, code: int, words: tuple[str, ...]
) -> None:
    process = begin(*words)
    os.killpg(process.pid, signum)  # as Ctrl-C in a terminal: to the loader's workers too
    status, output = finish(process)
    assert status == code, output
    assert "Traceback" not in output
    assert "finishing the step; again to stop at once" in output
    assert f"stopped by {signal.Signals(signum).name}; continue with: python train.py --resume logs/digits/a" in output
    run = tmp_path / "logs/digits/a"
    record = json.loads((run / "run.json").read_text())
    assert (record["exit_status"], record["error"]) == (code, f"stopped by {signal.Signals(signum).name}")
    saved = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    window = 3 if "--trainer.accumulate_grad_batches" in words else 1
    batches = saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"]
    assert batches % window == 0
    assert train("--resume", "logs/digits/a").code == 0


@pytest.mark.kills
def test_a_closed_terminal_stops_it_in_good_order(train: Train, tmp_path: Path) -> None:
    ours, its = pty.openpty()

    def attach() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
        fcntl.ioctl(its, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *WORDS, "--run_name", "a", "--data.num_workers", "2"],
        cwd=tmp_path, stdin=its, stdout=its, stderr=its, start_new_session=True, preexec_fn=attach,
    )  # fmt: skip
    os.close(its)
    output = b""
    while b"epoch  2/" not in output:
        output += os.read(ours, 4096)
    os.close(ours)  # now the system sends SIGHUP, and nothing can be shown any more
    assert process.wait(60) == 129
    run = tmp_path / "logs/digits/a"
    assert json.loads((run / "run.json").read_text())["error"] == "stopped by SIGHUP"
    assert "stopped by SIGHUP; continue with: python train.py --resume logs/digits/a" in (run / "train.log").read_text()
    assert train("--resume", "logs/digits/a").code == 0


@pytest.mark.kills
def test_under_nohup_it_goes_on(begin: Begin) -> None:
    process = begin(hangup=signal.SIG_IGN)
    os.killpg(process.pid, signal.SIGHUP)
    status, output = finish(process)
    assert status == 0 and "test/accuracy" in output, output


@pytest.mark.kills
def test_without_a_reader_it_goes_on(tmp_path: Path) -> None:
    script = 'set -o pipefail; "$0" "$@" | head -n 1'
    command = ["bash", "-c", script, sys.executable, str(ROOT / "train.py"), *WORDS, "--run_name", "a"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    assert done.stderr == ""
    log = (tmp_path / "logs/digits/a/train.log").read_text()
    assert "epoch 40/40" in log and "test/accuracy" in log


@pytest.mark.kills
def test_an_answer_that_nobody_reads_ends_quietly(tmp_path: Path) -> None:
    script = 'set -o pipefail; "$0" "$@" | true'
    command = ["bash", "-c", script, sys.executable, "-u", str(ROOT / "train.py"), "check", "--config", DIGITS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.kills
def test_stopped_and_continued_it_ends_as_the_undisturbed_run(
    begin: Begin, train: Train, tmp_path: Path, whole: Path
) -> None:
    for signum in (signal.SIGTERM, signal.SIGINT):
        process = begin("--resume", "auto", epochs=2 if signum == signal.SIGTERM else 20)
        process.send_signal(signum)
        assert finish(process)[0] == 128 + signum
    result = train(*WORDS, "--run_name", "a", "--resume", "auto")
    assert result.code == 0, result.err
    compare(whole, tmp_path / "logs/digits/a")


def test_killed_it_continues_to_the_same_end(begin: Begin, train: Train, tmp_path: Path, whole: Path) -> None:
    process = begin(epochs=7)
    process.kill()
    finish(process)
    result = train(*WORDS, "--run_name", "a", "--resume", "auto")
    assert result.code == 0, result.err
    compare(whole, tmp_path / "logs/digits/a")


@pytest.mark.kills
def test_a_second_signal_does_not_wait(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time, torch\nclass Slow(torch.nn.Module):\n    def forward(self, images, targets):\n"
        "        time.sleep(0.3)\n        return images.float(), targets\n"
    )
    slow = ("--data.train_transform", "[slow.Slow]", "--trainer.limit_train_batches", "2")
    process = begin(*slow, PYTHONPATH=str(tmp_path))
    process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    status, output = finish(process)
    assert status == -signal.SIGTERM
    assert "continue with" not in output


@pytest.mark.kills
@pytest.mark.parametrize(("when", "signum"), [
    ("logs/digits/a/run.json", signal.SIGTERM),
    ("logs/digits/a", signal.SIGINT),  # model and data are being built
    (".", signal.SIGINT),  # torch is being imported
])  # fmt: skip
def test_a_signal_during_start_up_stops_at_once(tmp_path: Path, when: str, signum: int) -> None:
    command = [sys.executable, str(ROOT / "train.py"), *WORDS, "--run_name", "a"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(1.0)
        while not (tmp_path / when).exists():
            time.sleep(0.001)
        process.send_signal(signum)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signum, errors
    assert "Traceback" not in errors


@pytest.mark.two_processes
@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_stop_together_whichever_is_asked(
    begin: Begin, train_process: Train, tmp_path: Path, rank: int
) -> None:
    process = begin(*TWO, "--trainer.max_epochs", "12")
    children = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "train.py"], capture_output=True, text=True)
    os.kill(process.pid if rank == 0 else int(children.stdout.split()[0]), signal.SIGTERM)
    status, output = finish(process)
    assert status == 143, output
    assert "Traceback" not in output
    assert output.count("continue with: python train.py --resume logs/digits/a") == 1
    result = train_process("--resume", "logs/digits/a")
    assert result.code == 0, result.err
    assert "continues from logs/digits/a/checkpoints/last.ckpt" in result.out


@pytest.mark.kills
def test_slurms_notice_saves_and_requeues(begin: Begin, tmp_path: Path) -> None:
    """With a stand-in for scontrol on the path, which notes how it was called."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    (tmp_path / "bin/scontrol").chmod(0o755)
    job = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    job |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS_PER_NODE": "1", "SLURM_JOB_NUM_NODES": "1"}
    process = begin("--trainer.accelerator", "cpu", PATH=f"{tmp_path}/bin:{os.environ['PATH']}", **job)
    process.send_signal(signal.SIGUSR1)
    status, output = finish(process)
    assert status == 128 + signal.SIGUSR1, output
    assert (tmp_path / "calls").read_text() == "requeue 4711\n"
    assert "job 4711: will be started again" in output
    assert (tmp_path / "logs/digits/a/checkpoints/last.ckpt").is_file()


@pytest.mark.kills
def test_workers_outlast_a_signal_as_long_as_the_step_takes(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time, torch\nfrom trainworks.runtime import signals\nsignals.WORKER_SECONDS = 1\n"
        "class Slow(torch.nn.Module):\n    def forward(self, images, targets):\n"
        "        time.sleep(2.5)\n        return images.float(), targets\n"
    )
    slow = ("--data.train_transform", "[slow.Slow]", "--trainer.limit_train_batches", "3", "--data.num_workers", "2")
    process = begin(*slow, epochs=1, PYTHONPATH=str(tmp_path))
    os.killpg(process.pid, signal.SIGTERM)
    status, output = finish(process)
    assert status == 143, output
    assert "continue with" in output and "Traceback" not in output and "Alarm clock" not in output


@pytest.mark.kills
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_workers_of_a_fork_server_outlast_a_signal_too(begin: Begin, train: Train, tmp_path: Path, signum: int) -> None:
    """Python 3.14 starts all processes so; they are no children of the training."""
    (tmp_path / "sitecustomize.py").write_text(
        "import multiprocessing\nmultiprocessing.set_start_method('forkserver')\n"
    )
    process = begin("--data.num_workers", "2", PYTHONPATH=str(tmp_path))
    os.killpg(process.pid, signum)
    status, output = finish(process)
    assert status == 128 + signum, output
    assert "continue with" in output and "Traceback" not in output
    assert train("--resume", "logs/digits/a").code == 0


@pytest.mark.kills
def test_workers_of_the_training_end_with_an_error_in_a_validation(
    train_process: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are left over from the loop around it, and outlive SIGTERM: the process would wait for their alarm."""
    monkeypatch.setenv("BOMB", "validation_end:1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    result = train_process(
        *WORDS, "--callbacks.bomb=trainworks.tests.bomb.Bomb", "--run_name", "a", "--data.num_workers", "2"
    )
    assert result.code == 1 and "KeyError: 'bomb'" in result.err
    assert "Alarm clock" not in result.err


def test_an_exception_keeps_the_last_good_checkpoint(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOMB", "batch:30")
    words = (*WORDS, "--callbacks.bomb=trainworks.tests.bomb.Bomb", "--run_name", "a")
    result = train(*words)
    assert result.code == 1
    assert "KeyError: 'bomb'" in result.err and "Traceback" in result.err
    saved = torch.load(tmp_path / "logs/digits/a/checkpoints/last.ckpt", weights_only=True)
    assert (saved["epoch"], saved["global_step"]) == (1, 20)
