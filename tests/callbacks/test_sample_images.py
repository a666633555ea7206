from pathlib import Path

import pytest
import torch

from trainworks.testing import ROOT, Train

DIGITS = str(ROOT / "configs" / "digits.yaml")

CONFIG = str(ROOT / "configs" / "vae.yaml")
TINY = ("--model.net.encoder.layers", "[4]", "--model.net.decoder.layers", "[4, U]")


def test_showing_images_leaves_training_as_it_was(train: Train, tmp_path: Path) -> None:
    words = ("fit", "--config", CONFIG, *TINY, "--trainer.max_epochs", "2", "--trainer.limit_train_batches", "3")
    assert train(*words, "--run_name", "with", "--callbacks.samples.every_n_epochs", "1").code == 0
    assert train(*words, "--run_name", "without", "--callbacks.samples", "null").code == 0
    weights = [
        torch.load(tmp_path / "logs/vae" / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("with", "without")
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize(
    ("config", "words", "message"),
    [
        (CONFIG, "--callbacks.samples.num_images 0", "num_images and every_n_epochs must be at least 1, got 0, 5"),
        (
            DIGITS,
            "--callbacks.samples src.callbacks.samples.SampleImages",
            "ClassifierModule has no sample(); take VAEModule or GANModule",
        ),
    ],
)
def test_mistakes(train: Train, config: str, words: str, message: str) -> None:
    result = train("fit", "--config", config, *words.split())
    assert result.code == 2
    assert message in result.err
