import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.datamodules.digits import DigitsDataModule
from trainworks.models import load_model
from trainworks.testing import ROOT, Train

CONFIG = str(ROOT / "configs/vae.yaml")
RUN = f"logs/{Path(CONFIG).stem}/a"
TINY = ("--model.net.encoder.layers", "[4]", "--model.net.decoder.layers", "[4, U]")


def histogram_bits(train: torch.Tensor, test: torch.Tensor) -> float:
    """What it takes to code each pixel by how often it had each level in training, whatever the other pixels are."""
    seen, asked = (images.flatten(1).numpy().astype(int) for images in (train, test))
    counts = np.stack([np.bincount(levels, minlength=256) for levels in seen.T])[:, np.unique(seen)] + 0.3
    places = np.searchsorted(np.unique(seen), asked)
    return float(-np.log2((counts / counts.sum(axis=1, keepdims=True))[np.arange(64), places]).mean())


@pytest.mark.long
def test_it_learns_what_pixels_have_to_do_with_each_other(train: Train) -> None:
    words = ("--run_name", "a", "--trainer.max_epochs", "10", "--model.optimizer.lr", "0.005")
    result = train("--config", CONFIG, *words)
    assert (result.code, result.err) == (0, "")
    data = DigitsDataModule()
    data.setup("fit")
    parts = (data.splits[name].inputs for name in ("train", "test"))  # type: ignore[attr-defined]
    summary = dict(line.split("  ", 1) for line in result.out.splitlines()[-10:] if "  " in line)
    reached, baseline = float(summary["test/bits_per_dim"]), histogram_bits(*parts)
    assert baseline == pytest.approx(2.432, abs=0.001)
    assert reached < baseline - 0.2
    assert float(summary["test/loss"]) == pytest.approx(reached * 64 * np.log(2), rel=1e-3)

    events = EventAccumulator(RUN).Reload()
    tags = {tag: events.Images(tag) for tag in events.Tags()["images"] if tag != "samples/train"}
    steps = {tag: [image.step for image in images] for tag, images in tags.items()}
    both = ("generated", "reconstructed")
    assert steps == {f"{kind}/val": [99, 199] for kind in both} | {f"{kind}/test": [200] for kind in both}
    assert tags["generated/test"][0].width == 16 * (32 + 2) + 2  # 16 digits a row, each four times as large

    assert train("predict", "--config", CONFIG).code == 0
    rows = list(csv.DictReader(Path(f"{RUN}/predictions.csv").read_text().splitlines()))
    assert list(rows[0]) == ["input", "target", "bits_per_dim", *(f"latent_{k}" for k in range(16))]
    assert np.mean([float(row["bits_per_dim"]) for row in rows]) == pytest.approx(reached, rel=0.01)
    targets = data.splits["test"].targets  # type: ignore[attr-defined]
    assert [int(row["target"]) for row in rows] == targets.tolist()

    module = load_model(f"{RUN}/checkpoints/best.ckpt")
    latents = [row["latent_15"] for row in module.predict(list(data.splits["test"].inputs[:64]))]  # type: ignore
    assert latents == pytest.approx([float(row["latent_15"]) for row in rows[:64]], abs=1e-5)
    before = torch.get_rng_state()
    images = module.sample(5, torch.Generator().manual_seed(1))  # type: ignore[operator]
    assert torch.equal(torch.get_rng_state(), before)
    assert images.shape == (5, 1, 8, 8)
    assert float(images.min()) >= 0 and float(images.max()) <= 1
    digits = data.splits["test"].inputs[:100]  # type: ignore[attr-defined]
    error = (module.reconstruct(digits) - digits / 255).abs().mean()  # type: ignore[operator]
    assert error < 0.5 * (digits / 255 - digits.roll(1, 0) / 255).abs().mean()  # of another digit


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model.net.encoder.num_classes 30", r"must have 2 \* num_latents = 32 outputs, it has 30"),
        ("--model.loss.beta -1", "beta must be at least 0, got -1"),
    ],
)
def test_mistakes(train: Train, words: str, message: str) -> None:
    result = train("fit", "--config", CONFIG, *TINY, "--trainer.limit_train_batches", "1", *words.split())
    assert result.code == 2
    assert re.search(message, result.err), result.err
