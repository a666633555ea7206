from pathlib import Path

import pytest
import torch

from trainworks.testing import ROOT, Train

DIGITS = str(ROOT / "configs" / "digits.yaml")

CONFIG = str(ROOT / "configs" / "gpt.yaml")
TINY = ("--model.net.width", "8", "--model.net.num_layers", "1")


def test_showing_texts_leaves_training_as_it_was(train: Train, tmp_path: Path) -> None:
    words = ("fit", "--config", CONFIG, *TINY, "--trainer.max_epochs", "2", "--trainer.limit_train_batches", "3")
    assert train(*words, "--run_name", "with").code == 0
    assert train(*words, "--run_name", "without", "--callbacks.samples", "null").code == 0
    weights = [
        torch.load(tmp_path / "logs/gpt" / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("with", "without")
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize(
    ("config", "words", "message"),
    [
        (CONFIG, ("--callbacks.samples.prompt", ""), "prompt must not be empty; write at least one character"),
        (CONFIG, ("--callbacks.samples.temperature", "0"), "temperature must be above 0, num_bytes, top_k and every"),
        (CONFIG, ("--callbacks.samples.top_k", "0"), "at least 1, got 0.8, 200, 0 and 1"),
        (
            DIGITS,
            ("--callbacks.samples", "src.callbacks.samples.SampleTexts", "--callbacks.samples.prompt", "a"),
            "ClassifierModule has no generate(); take LanguageModelModule",
        ),
    ],
)
def test_mistakes(train: Train, config: str, words: tuple[str, ...], message: str) -> None:
    result = train("fit", "--config", config, *words)
    assert result.code == 2
    assert message in result.err
