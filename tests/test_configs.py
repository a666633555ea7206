"""Every config runs through the real entry point; the data made for one follows from the classes that it names."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from pydoc import locate
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image
from torchvision import models

from trainworks import BaseModule
from trainworks.datamodules import ArrayDataModule, BoxFilesDataModule, ImageFolderDataModule, MaskFolderDataModule
from trainworks.testing import PLAIN, QUICK, ROOT, Train, write_images

CONFIGS = [path for path in sorted((ROOT / "configs").glob("*.yaml")) if "\ndata:" in path.read_text()]  # whole ones
FIRST = [path for path in CONFIGS if path.stem == "digits"] or CONFIGS[:1]  # the one that the quick suite combines
OVERLAYS = sorted((ROOT / "configs" / "overlays").glob("*.yaml"))
TOGETHER = ("bf16", "channels_last", "compile", "deterministic", "ema")
APART = ("fp16", "overfit", "multinode")  # these need a GPU or several machines, or train no whole epoch
CASES = {path.stem: [path] for path in OVERLAYS if path.stem not in (*TOGETHER, *APART)}
CASES |= {"together": [path for path in OVERLAYS if path.stem in TOGETHER]}
SMALLER = {  # of classes that take seconds as they are, which is tested once
    ".FastCNN": ("--model.net.widths", "[8, 8, 8]"),
    ".DigitScenesDataModule": ("--data.num_train", "40", "--data.num_val", "20", "--data.num_test", "20"),
    ".MaskFolderDataModule": ("--data.image_size", "32"),
    ".GPT": ("--model.net.width", "32"),
    ".fasterrcnn_mobilenet": ("--data.image_size", "64", "--data.batch_size", "2"),
    ".SampleTexts": ("--callbacks.samples.num_bytes", "9"),
}


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


def write_masks(root: Path) -> None:
    (root / "masks").mkdir(parents=True)
    for path in write_images(root / "images", 60):
        Image.open(path).convert("L").point(lambda value: 255 * (value > 127)).save(root / f"masks/{path.stem}.png")


def write_boxes(root: Path) -> None:
    """Write images with a box each in YOLO's format; there are no splits."""
    write_images(root, 50)
    for path in [*root.iterdir()]:
        path.with_suffix(".txt").write_text("1 0.5 0.5 0.4 0.3\n")
    (root / "classes.txt").write_text("a\nb\n")


def write_weights(config: Path) -> None:
    """Put weights for other classes where torch.hub keeps what it downloads, if a config begins with such."""
    for make in models.resnet18, models.detection.fasterrcnn_mobilenet_v3_large_320_fpn:
        if models.get_model_weights(make).__name__ in config.read_text(encoding="utf-8"):
            cache = Path(torch.hub.get_dir()) / "checkpoints"
            cache.mkdir(parents=True)
            backbone: Any = {"weights_backbone": None} if "detection" in make.__module__ else {}
            url = models.get_model_weights(make).DEFAULT.url
            torch.save(make(**backbone).state_dict(), cache / Path(url).name)


def write_arrays(root: Path) -> None:
    root.mkdir()
    np.savez(root / "a.npz", inputs=np.random.default_rng(0).random((200, 7)), targets=np.arange(200) % 3)


def named(config: Path, part: str) -> dict[str, Any]:
    """Return what a config says of its model or its data, by class_path and init_args."""
    content = yaml.safe_load(config.read_text(encoding="utf-8"))[part]
    return content if isinstance(content, dict) else {"class_path": content}


KINDS = {named(path, "model")["class_path"]: path for path in [*CONFIGS, *FIRST]}  # a config a module


def parts(config: Path) -> tuple[Any, Any, dict[str, Any]]:
    """Return a config's module class, its datamodule class, and what it says of the latter's arguments."""
    model, data = named(config, "model"), named(config, "data")
    return locate(model["class_path"]), locate(data["class_path"]), data.get("init_args", {})


def refusal(config: Path, overlay: str) -> str | None:
    """Return what is said where an overlay does not go with what a config has."""
    text, (model, _, arguments) = config.read_text(encoding="utf-8"), parts(config)
    if overlay == "early_stopping" and arguments.get("val_fraction") == 0:
        what = "callbacks.early_stopping.init_args.monitor"
        return f"{what} refers to callbacks.best.init_args.monitor, which is not set; write a value for {what}"
    if overlay == "fsdp" and "until_epoch" in text:
        return "parameters that train later need one device or trainer.strategy ddp"
    if overlay == "fsdp" and "automatic_optimization" in model.__init__.__code__.co_names:
        return f"{model.__name__} has manual optimization, which FSDP cannot shard"
    if overlay == "fsdp" and "WeightAverage" in text:
        return "WeightAverage needs whole weights, but FSDP shards them; take trainer.strategy ddp"
    return None


def smaller(config: Path) -> list[str]:
    return [word for name, words in SMALLER.items() if name in config.read_text() for word in words]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], list[str]]:
    """Write what a config leaves open or would download, and return the words that point there."""
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    root = tmp_path / "data"

    def prepare(config: Path) -> list[str]:
        text, (_, kind, arguments) = config.read_text(encoding="utf-8"), parts(config)
        write_weights(config)
        if issubclass(kind, ArrayDataModule) and "train" not in arguments:
            write_arrays(root)
            return ["--data.train", str(root / "a.npz")]
        if issubclass(kind, ImageFolderDataModule) and "root" not in arguments:
            write_folder(root)
            return ["--data.root", str(root)]
        if issubclass(kind, BoxFilesDataModule):
            write_boxes(root)
            return ["--data.root", str(root)]
        if issubclass(kind, MaskFolderDataModule):
            write_masks(root)
            return ["--data.root", str(root)]
        for name, write in {"FashionMNIST": write_fashion_mnist, "CIFAR10": write_cifar10}.items():
            if f"torchvision.datasets.{name}" in text:
                write(root)
                return ["--data.root", str(root)]
        return []

    return prepare


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_config_runs_for_a_batch(train: Train, data: Callable[[Path], list[str]], config: Path) -> None:
    words = ("--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu")
    result = train("--config", str(config), *data(config), *words)
    assert (result.code, result.err) == (0, "")
    best = yaml.safe_load(config.read_text(encoding="utf-8")).get("callbacks", {}).get("best") or {}
    watched = best.get("init_args", {}).get("monitor", "val/loss").replace("val/", "test/")
    assert watched in result.out and ("test/loss" in result.out or not issubclass(parts(config)[0], BaseModule))
    assert config.read_text().startswith(f"# python train.py --config configs/{config.name}")


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch 2.11's compiler warns of itself
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # and so does that of 2.15
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # SQLAlchemy of MLflow's own tables
@pytest.mark.parametrize(
    ("config", "case"),
    [
        pytest.param(config, case, id=f"{config.stem}-{case}", marks=[] if config in FIRST else pytest.mark.reach)
        for config in CONFIGS
        for case in CASES
        if config in KINDS.values() or case in ("together", "ddp")  # all of them with a config a module
    ],
)
def test_overlays_combine_with_config(
    train: Train, data: Callable[[Path], list[str]], config: Path, case: str, tmp_path: Path
) -> None:
    if case in ("wandb", "mlflow"):
        pytest.importorskip(case)
    files = [word for path in (config, *CASES[case]) for word in ("--config", str(path))]
    words = ["--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu", *smaller(config)]
    words += ["--callbacks.compile.backend", "eager"] if case == "together" else PLAIN  # a real one takes long
    result = train(*files, *data(config), *words)
    if said := refusal(config, case):
        assert result.code == 2 and said in result.err
        return
    assert (result.code, result.err) == (0, "")
    assert (tmp_path / "logs" / config.stem).is_dir()
    torch.compiler.reset()


def test_trackers_stand_beside_each_other(train: Train, data: Callable[[Path], list[str]]) -> None:
    files = [path for path in OVERLAYS if path.stem in ("csv", "mlflow", "wandb")]
    words = [word for path in (FIRST[0], *files) for word in ("--config", str(path))]
    result = train(*words, *data(FIRST[0]), "--print_config")
    assert (result.code, result.err) == (0, "")
    loggers = [item["class_path"].rpartition(".")[2] for item in yaml.safe_load(result.out)["trainer"]["logger"]]
    assert loggers == ["TensorBoardLogger", "CSVLogger", "MLFlowLogger", "WandbLogger"]


@pytest.mark.long
@pytest.mark.parametrize("config", KINDS.values(), ids=lambda path: path.stem)
def test_what_was_trained_is_exported(train: Train, data: Callable[[Path], list[str]], config: Path) -> None:
    """The command itself compares what a file says with what the module says."""
    pytest.importorskip("onnxruntime")
    short = (*smaller(config), *QUICK, "--trainer.limit_val_batches", "1", "--trainer.accelerator", "cpu")
    assert train("fit", "--config", str(config), *data(config), *short, "--run_name", "a").code == 0
    for kind in ("onnx", "pt2"):
        words = ("--ckpt_path", f"logs/{config.stem}/a/checkpoints/last.ckpt", "--format", kind)
        result = train("export", *words, "--latency", "false")
        if hasattr(parts(config)[0], "outputs"):
            assert (result.code, result.err) == (0, "")
        else:
            assert result.code == 2 and "outputs" in result.err
