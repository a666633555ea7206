"""What to expect of 8, 64 and 1,024 GPUs: the tables of docs/scaling.md, from assumptions that you can replace.

python -m benchmarks.scaling [--NAME VALUE ...]

Nothing is measured here. Bandwidths are in GB/s (10^9 bytes), in one direction.
"""

import argparse
import math
from dataclasses import dataclass, field, fields
from typing import Any

GB = 1e9


def assume(value: float, unit: str, source: str) -> Any:
    """Return a field with a default and where it comes from."""
    return field(default=value, metadata={"unit": unit, "source": source})


@dataclass(frozen=True)
class Assumptions:
    """All that the tables rest on."""

    gpus_per_node: float = assume(8, "GPUs", "DGX H100")
    peak: float = assume(989, "TFLOP/s", "NVIDIA, H100 SXM, bf16 without sparsity")
    nvlink: float = assume(370, "GB/s", "of the 450 on the data sheet; NVIDIA in nccl-tests issue 212")
    nic: float = assume(47, "GB/s a GPU", "of the 50 of a 400 Gb/s card each; 46 to 48 in nccl-tests issue 290")
    ethernet: float = assume(11.5, "GB/s a node", "of the 12.5 of one 100 Gb/s card; assumed")
    latency: float = assume(30, "us", "of a collective inside a node; assumed")
    hop: float = assume(20, "us", "more for each doubling of the nodes; assumed")
    overlap: float = assume(0.7, "of the computing", "beside which something can be sent unnoticed; assumed")
    waiting: float = assume(0.02, "of the computing", "for the slowest process; assumed")
    image_rate: float = assume(3000, "images/s", "ResNet-50 on a GPU; an A100 does 2,470 (DeepLearningExamples)")
    image_batch: float = assume(256, "images a GPU", "chosen")
    jpeg: float = assume(115e3, "bytes", "an image of ImageNet: 147.9 GB in 1,281,167 files")
    prepared: float = assume(224 * 224 * 3, "bytes", "the same in the cache, as uint8")
    decode_rate: float = assume(920, "images/s a core", "measured, docs/data.md: 96 JPEGs in 0.104 s")
    cache_rate: float = assume(13700, "images/s a core", "measured, docs/data.md: 96 images in 0.007 s")
    cores: float = assume(14, "a GPU", "112 in a DGX H100")
    token_batch: float = assume(20 * 2048, "tokens a GPU", "as in llm-foundry's table")
    utilization: float = assume(0.43, "of the peak", "the transformer's computing alone; assumed")
    mtbf_gpu_hours: float = assume(16384 * 54 * 24 / 419, "GPU hours", "Llama 3: 419 failures in 54 days of 16,384")
    restart: float = assume(600, "s", "from a failure to the next step; assumed")
    one_writer: float = assume(1.3, "GB/s", "measured, docs/reliability.md: 0.8 s per GiB")
    node_storage: float = assume(5, "GB/s a node", "what a node reads from or writes to a shared file system; assumed")
    storage: float = assume(100, "GB/s", "the same, all nodes together; assumed")


@dataclass(frozen=True)
class Layout:
    """So many GPUs, connected in one way.

    Args:
        num_gpus: All together.
        network: What connects the nodes: "InfiniBand" or "Ethernet".
    """

    num_gpus: int
    network: str = "InfiniBand"

    def nodes(self, a: Assumptions) -> int:
        """Return the number of nodes."""
        return math.ceil(self.num_gpus / a.gpus_per_node)

    def collective(self, a: Assumptions, num_bytes: float, rounds: int) -> float:
        """Return the seconds of a collective: 2 rounds of a ring for an all-reduce, 1 for an all-gather.

        A ring enters and leaves each node once, on all of its cards, so the cards' sum is what a ring can use.
        """
        n, nodes = self.num_gpus, self.nodes(a)
        between = a.nic * a.gpus_per_node if self.network == "InfiniBand" else a.ethernet
        bandwidth = GB * (a.nvlink if nodes == 1 else min(a.nvlink, between))
        latency = 1e-6 * (a.latency + a.hop * math.log2(nodes)) if n > 1 else 0.0
        return rounds * (n - 1) / n * num_bytes / bandwidth + latency

    def storage(self, a: Assumptions) -> float:
        """Return the bytes per second that all nodes together read or write."""
        return GB * min(a.node_storage * self.nodes(a), a.storage)

    def __str__(self) -> str:
        return f"{self.num_gpus:,}" + (f", {self.network}" if self.num_gpus > 8 else "")


LAYOUTS = [Layout(1), Layout(8), Layout(64), Layout(64, "Ethernet"), Layout(1024), Layout(1024, "Ethernet")]


@dataclass(frozen=True)
class Work:
    """A network and how it is trained.

    Args:
        name: What it is called.
        num_parameters: All of them train.
        state: Bytes of a checkpoint for each parameter.
        sharded: Whether parameters, gradients and optimizer state are spread over the GPUs (FSDP).
        num_pieces: Buckets of DDP, or layers of FSDP: what is sent at a time.
    """

    name: str
    num_parameters: float
    state: int
    sharded: bool = False
    num_pieces: int = 1

    def compute(self, a: Assumptions) -> tuple[float, float]:
        """Return the samples of a step on one GPU, and the seconds it computes."""
        if not self.sharded:
            return a.image_batch, a.image_batch / a.image_rate
        attention = 12 * 24 * 2048 * 2048  # 12 x layers x width x length of the sequence
        flops = a.token_batch * (6 * self.num_parameters + attention)
        return a.token_batch, flops / (1e12 * a.peak * a.utilization)

    def data(self, a: Assumptions, layout: Layout) -> float:
        """Return the seconds it takes to read and decode a batch."""
        if self.sharded:
            return 4 * a.token_batch * layout.num_gpus / layout.storage(a)
        read = a.jpeg * a.image_batch * layout.num_gpus / layout.storage(a)
        return max(read, a.image_batch / (a.cores * a.decode_rate))

    def communication(self, a: Assumptions, layout: Layout) -> tuple[float, float]:
        """Return the seconds of all that is sent in a step, and of the part that nothing can hide."""
        piece = 4 * self.num_parameters / self.num_pieces  # gradients are float32
        if not self.sharded:
            one = layout.collective(a, piece, 2)
            return self.num_pieces * one, one  # the last bucket is full when the backward pass is over
        gather, scatter = layout.collective(a, piece / 2, 1), layout.collective(a, piece, 1)  # parameters are bf16
        return self.num_pieces * (2 * gather + scatter), gather + scatter  # first layer forward, and last gradients

    def step(self, a: Assumptions, layout: Layout) -> dict[str, float]:
        """Return the times of a step in ms, samples per second and the efficiency over one GPU."""
        samples, alone = self.compute(a)
        sent, open_part = self.communication(a, layout) if layout.num_gpus > 1 else (0.0, 0.0)
        hiding = a.overlap * (alone if self.sharded else alone * 2 / 3)  # DDP sends in the backward pass only
        exposed = max(sent - hiding, open_part)
        data = self.data(a, layout)
        seconds = max(data, alone * (1 + a.waiting * (layout.num_gpus > 1)) + exposed)
        times = {"data": data, "compute": alone, "sent": sent, "exposed": exposed, "step": seconds}
        return {name: 1e3 * value for name, value in times.items()} | {
            "speed": layout.num_gpus * samples / seconds,
            "efficiency": alone / seconds,
        }


RESNET = Work("ResNet-50, 224 pixels, DDP", 25.557e6, 8, num_pieces=4)
GPT = Work("transformer, 1.3 B, FSDP", 1.316e9, 12, sharded=True, num_pieces=24)
STORED = [RESNET, GPT, Work("transformer, 13 B", 13e9, 12, True), Work("transformer, 70 B", 70e9, 12, True)]


def table(head: str, rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, "| " + " | ".join(["---"] * head.count(" | ")) + " | --- |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def assumptions(a: Assumptions) -> str:
    """List what is assumed."""
    rows = []
    for item in fields(a):
        value = getattr(a, item.name)
        number = f"{value:,.0f}" if value >= 1000 else f"{value:g}"
        rows.append([f"`{item.name}`", f"{number} {item.metadata['unit']}", item.metadata["source"]])
    return table("| Name | Value | Source |", rows)


def steps(a: Assumptions, work: Work) -> str:
    """Estimate the steps of one network."""
    rows = []
    for layout in LAYOUTS:
        found = work.step(a, layout)
        times = [f"{found[key]:,.1f}" for key in ("data", "compute", "sent", "exposed", "step")]
        rows.append([str(layout), *times, f"{found['speed']:,.0f}", f"{found['efficiency']:.0%}"])
    unit = "Tokens" if work.sharded else "Images"
    return table(f"| GPUs | Data | Compute | Sent | Exposed | Step, ms | {unit}/s | Efficiency |", rows)


def reading(a: Assumptions) -> str:
    """Say what storage and CPUs must deliver so that ResNet-50 never waits."""
    rows = []
    for num_gpus in (1, 8, 64, 1024):
        speed = num_gpus * a.image_rate
        rates = [f"{speed * size / GB:,.1f}" for size in (a.jpeg, a.prepared)]
        cores = [f"{speed / rate / num_gpus:,.1f}" for rate in (a.decode_rate, a.cache_rate)]
        rows.append([f"{num_gpus:,}", f"{speed:,.0f}", *rates, *cores])
    return table(
        "| GPUs | Images/s | JPEG, GB/s | Cache, GB/s | Cores a GPU, JPEG | Cores a GPU, cache |", rows
    )  # fmt: skip


def mtbf(a: Assumptions, num_gpus: int) -> float:
    """Return the mean time between failures in seconds."""
    return 3600 * a.mtbf_gpu_hours / num_gpus


def failures(a: Assumptions) -> str:
    """Estimate how often something breaks."""
    rows = [[f"{n:,}", f"{mtbf(a, n) / 3600:,.0f}", f"{mtbf(a, n) / 86400:,.1f}"] for n in (8, 64, 1024, 16384)]
    return table("| GPUs | Hours between failures | Days |", rows)


def saving(a: Assumptions, num_gpus: int = 1024) -> str:
    """Estimate checkpoints: size, time to write, best interval (Young), and the share of time that is lost."""
    rows, between = [], mtbf(a, num_gpus)
    for work in STORED:
        size = work.num_parameters * work.state / GB
        ways = {"one file": a.one_writer} | ({"sharded": Layout(num_gpus).storage(a) / GB} if work.sharded else {})
        for way, speed in ways.items():
            seconds = size / speed
            interval = math.sqrt(2 * seconds * between)
            lost = seconds / interval + interval / 2 / between + a.restart / between
            rows.append(
                [work.name, f"{size:,.1f} GB", way, f"{seconds:,.2f} s", f"{interval / 60:,.1f} min", f"{lost:.1%}"]
            )
    return table("| Network | Size | Written as | Takes | Best interval | Time lost |", rows)


def tables(a: Assumptions) -> dict[str, str]:
    """Return all tables by title."""
    found = {"Assumptions": assumptions(a), RESNET.name: steps(a, RESNET), GPT.name: steps(a, GPT)}
    return found | {"Reading": reading(a), "Failures": failures(a), "Checkpoints on 1,024 GPUs": saving(a)}


def main(words: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for item in fields(Assumptions):
        text = f"{item.metadata['unit']}: {item.metadata['source']}"
        parser.add_argument(f"--{item.name}", type=float, default=item.default, help=text.replace("%", "%%"))
    for title, text in tables(Assumptions(**vars(parser.parse_args(words)))).items():
        print(f"{title}\n\n{text}\n")


if __name__ == "__main__":
    main()
