"""Every config runs through the real entry point, on data of the right shape made here."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from trainworks.testing import PLAIN, ROOT, Train, all_but, write_images

DIGITS = str(ROOT / "configs" / "digits.yaml")

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
OVERLAYS = sorted((ROOT / "configs" / "overlays").glob("*.yaml"))
TOGETHER = ("bf16", "channels_last", "compile", "deterministic", "ema")
APART = ("fp16", "overfit", "multinode")  # tested in test_precision.py, test_overfit.py and test_elastic.py


REFUSED = {  # what does not go together, and why
    ("finetune", "fsdp"): "parameters that train later need one device or trainer.strategy ddp",
    ("gan", "fsdp"): "GANModule optimizes by hand, which FSDP cannot shard",
    ("cifar10_fast", "fsdp"): "WeightAverage needs whole weights, but FSDP shards them; take trainer.strategy ddp",
    ("cifar10_fast", "early_stopping"): "EarlyStopping monitors 'val/loss', which ClassifierModule does not log",
}
FEW_SCENES = ("--data.num_train", "40", "--data.num_val", "20", "--data.num_test", "20")
SMALLER = {  # what takes seconds as it is, which is tested once
    "cifar10_fast": ("--model.net.widths", "[8, 8, 8]"),
    "segmentation": FEW_SCENES,
    "detection": FEW_SCENES,
    "gpt": ("--model.net.width", "32", "--callbacks.samples.num_bytes", "9"),
}
METRICS = {"gan": "test/frechet_distance"}  # of those whose module has no loss in the test


def write_fashion_mnist(root: Path) -> None:
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, count in (("train", 600), ("t10k", 200)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, count, 28, 28) + images.tobytes())
        labels = np.arange(count, dtype=np.uint8) % 10
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, count) + labels.tobytes())


def write_cifar10(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in [f"data_batch_{index}" for index in range(1, 6)] + ["test_batch"]:
        data = random.integers(0, 256, (210, 3072), dtype=np.uint8)  # in all more than cifar10_fast's batch of 1024
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": [index % 10 for index in range(210)]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))


def write_folder(root: Path) -> None:
    for name in "ab":
        write_images(root / name, 70)


def write_finetune(root: Path) -> None:
    """Put weights where torch.hub keeps what it downloads, and a folder of images."""
    write_folder(root)
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    cache.mkdir(parents=True)
    name = Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name
    torch.save(torchvision.models.resnet18().state_dict(), cache / name)


def write_arrays(root: Path) -> None:
    root.mkdir()
    np.savez(root / "a.npz", inputs=np.random.default_rng(0).random((200, 7)), targets=np.arange(200) % 3)


DATA: dict[str, tuple[Callable[[Path], None], str, str]] = {  # what writes it, and the option that names it
    "fashion_mnist": (write_fashion_mnist, "root", ""),
    "cifar10": (write_cifar10, "root", ""),
    "cifar10_fast": (write_cifar10, "root", ""),
    "image_folder": (write_folder, "root", ""),
    "finetune": (write_finetune, "root", ""),
    "arrays": (write_arrays, "train", "a.npz"),
}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], list[str]]:
    """Write what a config needs and return the words that point there."""
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def prepare(config: Path) -> list[str]:
        if config.stem not in DATA:
            return []
        write, option, name = DATA[config.stem]
        write(tmp_path / "data")
        return [f"--data.{option}", str(tmp_path / "data" / name)]

    return prepare


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_config_runs_for_a_batch(train: Train, data: Callable[[Path], list[str]], config: Path, tmp_path: Path) -> None:
    result = train(
        "--config", str(config), *data(config), "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu"
    )
    assert (result.code, result.err) == (0, "")
    assert METRICS.get(config.stem, "test/loss") in result.out
    header = config.read_text().splitlines()[0]
    assert header.startswith(f"# python train.py --config configs/{config.name}")


@pytest.mark.parametrize(
    "overlay", [path for path in OVERLAYS if path.stem not in (*TOGETHER, *APART)], ids=lambda path: path.stem
)
@pytest.mark.parametrize("config", all_but([Path(DIGITS)], CONFIGS, pytest.mark.reach), ids=lambda path: path.stem)
def test_overlay_combines_with_config(
    train: Train, data: Callable[[Path], list[str]], config: Path, overlay: Path, tmp_path: Path
) -> None:
    words = ("--config", str(config), "--config", str(overlay), *data(config), "--trainer.fast_dev_run", "true")
    result = train(*words, *SMALLER.get(config.stem, ()), *PLAIN, "--trainer.accelerator", "cpu")
    if said := REFUSED.get((config.stem, overlay.stem)):
        assert result.code == 2 and said in result.err
        return
    assert (result.code, result.err) == (0, "")
    assert (tmp_path / "logs" / config.stem).is_dir()


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch 2.11's compiler warns of itself
@pytest.mark.parametrize(
    "config", all_but(["digits"], ["digits", "segmentation", "detection", "gpt", "vae"], pytest.mark.reach)
)
def test_overlays_combine_with_each_other(train: Train, data: Callable[[Path], list[str]], config: str) -> None:
    path = ROOT / "configs" / f"{config}.yaml"
    overlays = [word for name in TOGETHER for word in ("--config", str(ROOT / "configs/overlays" / f"{name}.yaml"))]
    words = ("--callbacks.compile.backend", "eager", "--trainer.accelerator", "cpu", "--trainer.fast_dev_run", "true")
    words += SMALLER.get(config, ())
    result = train("--config", str(path), *overlays, *data(path), *words)  # compiling for real takes too long
    assert (result.code, result.err) == (0, "")
    torch.compiler.reset()
