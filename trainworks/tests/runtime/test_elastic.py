"""Two launchers, as on two machines: a worker is killed, the group starts again, and nothing is lost."""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback

from trainworks.tests.conftest import CONFIGS, DIGITS, PLAIN, ROOT
from trainworks.tests.test_exact_resume import NET, compare

OVERLAY = str(CONFIGS / "overlays/multinode.yaml")
WORDS = ("fit", "--config", DIGITS, "--config", OVERLAY, "--trainer.accelerator", "cpu", *PLAIN, *NET)
LIMITS = ("--trainer.max_epochs", "3", "--trainer.limit_train_batches", "6", "--callbacks.last.every_n_steps", "2")
KILLER = "--callbacks.killer=trainworks.tests.runtime.test_elastic.Killer"
ADDRESSES = ("10.213.77.1", "10.213.77.2")


class Killer(Callback):
    """Kills the second process once, in the middle of the second epoch, where the variable KILL names a file."""

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        mark = os.environ.get("KILL")
        if mark and trainer.global_rank == 1 and trainer.fit_loop.total_batch_idx == 9 and not Path(mark).exists():
            Path(mark).write_text(os.environ["TORCHELASTIC_RUN_ID"])
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def machines() -> Iterator[list[tuple[list[str], dict[str, str], str]]]:
    """Two network namespaces joined by a cable, where the system allows it; else this machine twice."""
    names = [f"train-{os.getpid()}-{k}" for k in range(2)]
    ends = [f"t{os.getpid() % 100_000}e{k}" for k in range(2)]
    commands = [f"ip netns add {name}" for name in names]
    commands += [f"ip link add {ends[0]} netns {names[0]} type veth peer name {ends[1]} netns {names[1]}"]
    for name, end, address in zip(names, ends, ADDRESSES, strict=True):
        commands += [f"ip -n {name} addr add {address}/24 dev {end}"]
        commands += [f"ip -n {name} link set {device} up" for device in ("lo", end)]
    try:
        for command in commands:
            subprocess.run(command.split(), check=True, capture_output=True)
        prefixes = [["ip", "netns", "exec", name] for name in names]
        variables = [{"GLOO_SOCKET_IFNAME": end} for end in ends]
        yield list(zip(prefixes, variables, ADDRESSES, strict=True))
    except (OSError, subprocess.CalledProcessError):
        yield [([], {}, "127.0.0.1")] * 2
    finally:
        with contextlib.suppress(FileNotFoundError):  # a system without ip
            for name in names:
                subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def launch(machines: Any, folder: Path, job: str, *words: str, **environment: str) -> list[str]:
    """Run torchrun on both machines; return what they printed."""
    with socket.socket() as free:
        free.bind(("", 0))
        endpoint = f"{machines[0][2]}:{free.getsockname()[1]}"
    processes = []
    for number, (prefix, variables, address) in enumerate(machines):
        command = [*prefix, sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
        command += ["--max-restarts=3", "--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}", f"--rdzv-id={job}"]
        command += [f"--rdzv-conf=is_host={int(number == 0)}", f"--local-addr={address}", "--monitor-interval=0.1"]
        command += [str(ROOT / "train.py"), *words]
        variables = {**os.environ, **variables, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
        variables["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # see docs/scaling.md
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
        processes.append(subprocess.Popen(command, cwd=folder, env=variables, **pipes))
    try:
        shown = [process.communicate(timeout=400)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], shown
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return shown


@pytest.mark.two_processes
def test_what_the_page_says_trains_on_two_machines(machines: Any, tmp_path: Path) -> None:
    page = ROOT / "docs/scaling.md"
    if not machines[0][0] or not page.is_file():
        pytest.skip("this system makes no network namespaces" if page.is_file() else "this system has no docs")
    (block,) = re.findall(r"```bash\n(export .*?torchrun.*?)```", page.read_text(), re.DOTALL)
    script = block.replace("HOST", ADDRESSES[0]).replace("JOB", "page").replace("-per-node 8", "-per-node 1")
    words = shlex.join([OVERLAY, "--trainer.accelerator", "cpu", *PLAIN, *NET, *LIMITS[:4]])
    script = script.replace("--config C", f"--config {DIGITS}").replace("configs/overlays/multinode.yaml", words)
    script = script.replace("train.py", str(ROOT / "train.py"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    processes = []
    for number, (prefix, variables, address) in enumerate(machines):
        own = script.replace("eth0", variables["GLOO_SOCKET_IFNAME"]).replace("OWN", address)
        command = [*prefix, "timeout", "300", "bash", "-c", own if number == 0 else own.replace("host=1", "host=0")]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        processes.append(subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PATH": path}, **pipes))
    shown = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], shown
    record = json.loads((tmp_path / "logs/digits/torchrun-page/run.json").read_text())
    assert (record["exit_status"], record["hardware"]["num_nodes"]) == (0, 2)


@pytest.mark.two_processes
def test_a_killed_worker_costs_nothing(machines: Any, tmp_path: Path) -> None:
    words = (*WORDS, *LIMITS, KILLER)
    launch(machines, tmp_path, "whole", *words)
    shown = launch(machines, tmp_path, "cut", *words, KILL=str(tmp_path / "mark"))
    assert (tmp_path / "mark").read_text() == "cut"
    runs = tmp_path / "logs" / "digits"
    assert {run.name for run in runs.iterdir()} == {"torchrun-whole", "torchrun-cut"}
    (said,) = (text for text in shown if "continues from" in text)  # one process speaks, whichever is the first now
    assert "torchrun-cut/checkpoints/last.ckpt, step 8" in said
    compare(runs / "torchrun-whole", runs / "torchrun-cut")
