"""A run of each kind of task that is stopped in the middle of an epoch and continued ends as one that was not."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from lightning.pytorch import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils._pytree import tree_map

from trainworks.testing import PLAIN, ROOT, Train, write_images

CROP = "{class_path: torchvision.transforms.v2.RandomResizedCrop, init_args: {size: 16}}"
LAYERS = ("--model.net.layers", "[4, M, 8]", "--model.net.dropout", "0.3")
SCENES = ("--data.num_train", "112", "--data.num_val", "32", "--data.num_test", "32", "--data.batch_size", "16")
PYRAMID = ("--model.net.backbone.widths", "[8, 16, 16]", "--model.net.backbone.out_channels", "32")
TASKS = {  # a config, and what makes it small; all have a metric of the training
    "digits": LAYERS,
    "vae": ("--model.net.encoder.layers", "[4]", "--model.net.decoder.layers", "[4, U]", "--data.batch_size", "16"),
    "gpt": ("--model.net.width", "8", "--model.net.dropout", "0.3", "--callbacks.samples.num_bytes", "9"),
    "segmentation": (*SCENES, "--model.net.widths", "[4, 8]", "--model.train_metrics", "true"),
    "detection": (*SCENES, *PYRAMID, "--model.train_metrics", "true"),
    "image_folder": (*LAYERS, "--data.root", "data", "--data.image_size", "16", "--data.batch_size", "8",
                     "--data.sample_transform+", CROP, "--data.storage", "files", "--data.num_workers", "1"),
}  # fmt: skip
SHORT = ("--trainer.max_epochs", "3", "--trainer.limit_train_batches", "7", "--trainer.limit_val_batches", "2", *PLAIN)


class Stop(Callback):
    """Fails before a batch, counted over all epochs."""

    at: ClassVar[int | None] = None

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx == self.at:
            raise KeyError("stop")


def ending(run: Path) -> dict[str, str]:
    """What a run ended with, to the last bit, but for its folder's name and times."""
    parts = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    parts["exact"].pop("folder")
    for callback in parts["callbacks"].values():
        callback.pop("current_score", None)  # Lightning forgets one that nobody reads
    record = json.loads((run / "run.json").read_text())
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    curves = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    parts["curves"] = {tag: values for tag, values in curves.items() if not tag.startswith("speed/")}
    parts |= {name: record[name] for name in ("metrics", "best", "exit_status")}
    plain = tree_map(lambda value: value.tolist() if isinstance(value, torch.Tensor) else value, parts)
    return {name: repr(value).replace(str(run.absolute()), "") for name, value in plain.items()}


@pytest.mark.kills
@pytest.mark.parametrize("task", [task for task in TASKS if (ROOT / f"configs/{task}.yaml").exists()])
def test_it_ends_as_if_nothing_had_happened(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    for name in "ab":
        write_images(tmp_path / "data" / name, 40, (30, 24))
    words = ("--config", str(ROOT / f"configs/{task}.yaml"), *SHORT, *TASKS[task], "--trainer.log_every_n_steps", "1")
    words += ("--callbacks.last.every_n_steps", "2", "--callbacks.stop", "tests.test_resume.Stop", "--run_name")
    assert train(*words, "whole").code == 0
    monkeypatch.setattr(Stop, "at", 12)
    assert train(*words, "cut").code == 1
    monkeypatch.setattr(Stop, "at", None)
    result = train(*words, "cut", "--resume", "auto")
    assert (result.code, "last.ckpt, step 10" in result.out) == (0, True), result.err
    whole, cut = (ending(tmp_path / f"logs/{task}/{run}") for run in ("whole", "cut"))
    assert list(whole) == list(cut) and [name for name in whole if whole[name] != cut[name]] == []
