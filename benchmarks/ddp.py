"""What a second process brings: DDP over gloo on the CPU, one thread a process.

python -m benchmarks.ddp [SmallCNN MLP ResNet-18] [--repetitions N] [--steps N]

Everything is measured in turn within the same two processes; a process that has nothing to do sleeps. Batches are made
up and lie in memory. A time is that of the slower process, so waiting for it counts as communication.
"""

import argparse
import operator
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook, bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel
from torchvision.models import resnet18

from src.models.networks.mlp import MLP
from src.models.networks.small_cnn import SmallCNN

OPTIONS: dict[str, dict[str, Any]] = {  # what DDP can be told, beside its defaults
    "bucket_cap_mb 1": {"bucket_cap_mb": 1},
    "gradient_as_bucket_view": {"gradient_as_bucket_view": True},
    "bf16_compress_hook": {},
}


@dataclass(frozen=True)
class Case:
    """A network and its batch.

    Args:
        net: Makes the network, with 10 outputs.
        shape: Shape of one input.
        batch_size: Samples of one process.
    """

    net: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch_size: int


CASES = {
    "SmallCNN": Case(partial(SmallCNN, 1, 10, [16, 16, "M", 32, "M", 64]), (1, 8, 8), 64),
    "MLP": Case(partial(MLP, 784, 10, [1024, 1024]), (784,), 128),
    "ResNet-18": Case(partial(resnet18, num_classes=10), (3, 32, 32), 64),
}


def step(net: nn.Module, case: Case, share: int = 1, sync: bool = True) -> Callable[[], None]:
    """Return one optimizer step with a `share`-th of the batch."""
    inputs = torch.randn(case.batch_size // share, *case.shape)
    targets = torch.arange(len(inputs)) % 10
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)

    def work() -> None:
        with nullcontext() if sync else net.no_sync():
            nn.functional.cross_entropy(net(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()

    return work


def buckets(case: Case) -> list[int]:
    """Return the number of values in each all-reduce of a step, in the order in which DDP sends them."""
    sizes: list[int] = []

    def count(_: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        sizes.append(bucket.buffer().numel())
        return allreduce_hook(None, bucket)

    net = DistributedDataParallel(case.net())
    net.register_comm_hook(None, count)
    work = step(net, case)
    work()  # DDP puts parameters into buckets anew after the first step
    work()
    sizes.clear()
    work()
    return sizes


def all_reduce(sizes: list[int]) -> Callable[[], None]:
    """Return the bare all-reduces of a step."""
    tensors = [torch.zeros(size) for size in sizes]

    def work() -> None:
        for handle in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
            handle.wait()

    return work


def ways(case: Case, sizes: list[int]) -> dict[str, Callable[[], None]]:
    """Return all that is timed, by name; "alone" is done by the first process only."""
    net = DistributedDataParallel(case.net())
    found = {
        "alone": step(case.net(), case),
        "both": step(net, case),
        "halves": step(net, case, share=2),
        "silent": step(net, case, sync=False),
        "all-reduce": all_reduce(sizes),
    }
    for name, options in OPTIONS.items():
        net = DistributedDataParallel(case.net(), **options)
        if name == "bf16_compress_hook":
            net.register_comm_hook(None, bf16_compress_hook)
        found[name] = step(net, case)
    return found


def seconds(work: Callable[[], None], steps: int, alone: bool) -> float:
    """Return the time of one step in the slower process."""
    dist.barrier()
    start = time.perf_counter()
    for _ in range(0 if alone and dist.get_rank() else steps):
        work()
    taken = torch.tensor((time.perf_counter() - start) / steps)
    dist.all_reduce(taken, dist.ReduceOp.MAX)
    return float(taken)


def measure(rank: int, path: str, names: list[str], repetitions: int, steps: int) -> None:
    """Measure in one of the two processes, and print in the first."""
    found: dict[str, dict[str, str]] = {}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    for name in names:
        case = CASES[name]
        sizes = buckets(case)
        works = ways(case, sizes)
        times: dict[str, list[float]] = {way: [] for way in works}
        for repetition in range(repetitions + 1):
            for way, work in works.items():
                taken = seconds(work, steps, alone=way == "alone")
                if repetition:  # the first is not counted
                    times[way].append(taken)
        found[name] = describe(case, sizes, times)
    dist.destroy_process_group()
    if rank == 0:
        print(f"| Median and range of {repetitions} | {' | '.join(names)} |\n|{' --- |' * (len(names) + 1)}")
        for key in found[names[0]]:
            print(f"| {key} | {' | '.join(column[key] for column in found.values())} |", flush=True)


def describe(case: Case, sizes: list[int], times: dict[str, list[float]]) -> dict[str, str]:
    """Return what came out for one network, in words."""
    median = {way: 1000 * statistics.median(values) for way, values in times.items()}  # milliseconds
    net = case.net()
    num_parameters = sum(parameter.numel() for parameter in net.parameters())

    def paired(measure: Callable[..., float], *names: str) -> str:
        found = sorted(measure(*values) for values in zip(*(times[name] for name in names), strict=True))
        return f"{statistics.median(found):.2f} ({found[0]:.2f} to {found[-1]:.2f})"

    lines = {
        "Parameters": f"{num_parameters:,}",
        "One process: samples in a step": str(case.batch_size),
        "One process: samples/s": f"{1000 * case.batch_size / median['alone']:,.0f}",
        "Two, the same batch each (weak): efficiency": paired(operator.truediv, "alone", "both"),
        "Two, half the batch each (strong): efficiency": paired(lambda a, b: a / b / 2, "alone", "halves"),
        "Two that send nothing: efficiency": paired(operator.truediv, "alone", "silent"),
        "Bytes of gradients": f"{4 * num_parameters:,}",
        "Bytes all-reduced in a step": f"{4 * sum(sizes):,}",
        "Bytes of buffers, broadcast in each step": f"{sum(buffer.nbytes for buffer in net.buffers()):,}",
        "Buckets, MiB": ", ".join(f"{4 * size / 2**20:.2f}" for size in sizes),
        "Step of two, ms": f"{median['both']:.2f}",
        "Step of two that send nothing, ms": f"{median['silent']:.2f}",
        "All-reduce alone, ms": f"{median['all-reduce']:.2f}",
        "Share of it that overlaps": paired(lambda a, b, c: 1 - (a - b) / c, "both", "silent", "all-reduce"),
    }
    for option in OPTIONS:
        lines[f"`{option}`: step over step without"] = paired(operator.truediv, option, "both")
    return lines


def main(words: list[str] | None = None) -> None:
    """Start two processes and measure in them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="network", help=", ".join(CASES))
    parser.add_argument("--repetitions", type=int, default=11)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args(words)
    if unknown := set(options.networks) - set(CASES):
        parser.error(f"network must be one of {', '.join(CASES)}, got {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as folder:
        arguments = (f"{folder}/store", options.networks or list(CASES), options.repetitions, options.steps)
        torch.multiprocessing.spawn(measure, arguments, nprocs=2)


if __name__ == "__main__":
    main()
