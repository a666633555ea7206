"""All of the benchmark but CUDA itself, with a small network on the CPU."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_cifar, gpu_files
from trainworks.testing import write_images

pytestmark = pytest.mark.benchmarks

TINY = ["--net", "resnet18", "--image_size", "32", "--batch_size", "4", "--num_images", "16", "--warmup", "1"]
SHORT = [*TINY, "--steps", "2", "--repetitions", "1"]


@pytest.fixture(autouse=True)
def _restore_flags() -> Iterator[None]:
    yield
    gpu.Flags(cudnn_benchmark=False).set()  # as torch has them


def rows(printed: str) -> dict[str, tuple[int, float]]:
    """Return images per second and share of the peak by way."""
    found = re.findall(r"^\| (.+?) \| ([\d,]+) \| .* \| ([\d.]+)% \|$", printed, re.MULTILINE)
    return {name: (int(speed.replace(",", "")), float(share)) for name, speed, share in found}


def test_every_way_runs_on_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--device", "cpu", "--no-compile", *SHORT])
    printed = capsys.readouterr().out
    loops = ["loop in float32", "+ tf32", "+ bf16", "+ channels_last", "+ fused"]
    assert list(rows(printed)) == ["ours", "plain Lightning", *loops]
    assert all(speed > 0 and 0 < share <= 100 for speed, share in rows(printed).values())
    assert re.search(r"ours over \+ fused: \d+\.\d+x .*; goal: at least 0.97", printed)
    assert re.search(r"ours over plain Lightning: \d+\.\d+x .*; goal: at least 4.0", printed)


def test_the_flags_add_up() -> None:
    flags = list(gpu.ladder(compiles=True).values())
    assert flags[0] == gpu.Flags(tf32=False)
    assert flags[-1] == gpu.Flags(tf32=True, bf16=True, channels_last=True, fused=True, compiled=True)
    assert not list(gpu.ladder(compiles=False).values())[-1].compiled


def test_operations_are_those_of_forward_and_backward() -> None:
    """ResNet-50 has 4.09 G multiply-adds forward; the backward pass takes twice that, but for the first layer."""
    assert gpu.flops("resnet50", 224) == pytest.approx(3 * 8.178e9, rel=0.02)


def test_batches_have_the_layout_that_was_asked_for() -> None:
    images = torch.randint(256, (8, 3, 4, 4), dtype=torch.uint8)
    data = gpu.ResidentData(images=images, num_steps=3, memory_format=torch.channels_last, batch_size=5)
    batches = list(data)
    assert len(batches) == len(data) == 3
    assert batches[0][0].shape == (5, 3, 4, 4)
    assert batches[0][0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images[batches[0][1]], batches[0][0])  # the targets are the places of the images


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--net", "resnet18", "--image_size", "64", "--batch_size", "32", "--num_images", "64", "--warmup", "6"]
    gpu.main([*small, "--steps", "10", "--repetitions", "1", "--no-compile"])
    assert "ours over + fused: " in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_nothing_is_measured_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main([])
    assert capsys.readouterr().out == "skipped: there is no CUDA device\n"


def test_files_reach_the_device_in_every_way(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--device", "cpu", "--net", "shufflenet_v2_x0_5", "--image_size", "32", "--num_files", "16"]
    sizes = ["--batch_size", "4", "--warmup", "1", "--steps", "1", "--num_workers", "1", "--repetitions", "1"]
    gpu_files.main([*words, *sizes])
    printed = capsys.readouterr().out
    for way in ("on the device", "folder, prepared", "folder, decoded anew", "DataLoader with Pillow"):
        assert float(re.findall(rf"^shufflenet_v2_x0_5, {way} +([\d.,]+) images/s", printed, re.MULTILINE)[0]) > 0
    assert "folder, prepared: share of images on the device" in printed and "goal: at least 0.9" in printed


def test_the_fast_recipe_and_ours_train(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in "ab":
            write_images(tmp_path / split / name, 24, size=(32, 32))
    words = ["--device", "cpu", "--root", str(tmp_path), "--batch_size", "16", "--epochs", "4", "--repetitions", "1"]
    gpu_cifar.main(words)
    printed = capsys.readouterr().out
    for way in ("recipe", "ours"):
        assert float(re.findall(rf"^CIFAR-10, {way}: seconds +([\d.]+) s", printed, re.MULTILINE)[0]) > 0
        assert 0 <= float(re.findall(rf"^CIFAR-10, {way}: test accuracy +([\d.]+)", printed, re.MULTILINE)[0]) <= 1
    assert "CIFAR-10, ours over the recipe" in printed and "goal: at most 1.5" in printed
