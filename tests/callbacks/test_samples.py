from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Generator, Tensor

from tests.callbacks.plain import Plain
from trainworks.testing import Train


class Drawing(Plain):
    """Draws images and writes texts."""

    def sample(self, num_images: int, generator: Generator) -> Tensor:
        return self.net(torch.rand(num_images, 64, generator=generator)).view(-1, 1, 8, 8)

    def reconstruct(self, images: Tensor) -> Tensor:
        return self.net(images.flatten(1) / 255).view(images.shape)

    def generate(self, prompt: str, count: int, temperature: float, top_k: int | None, generator: Generator) -> str:
        return prompt + "".join(map(str, torch.randint(10, (count,), generator=generator).tolist()))


FIT = ("fit", "--config", "plain.yaml")
IMAGES = ("--callbacks.samples", "src.callbacks.samples.SampleImages")
NONE = ("--callbacks.samples.num_images", "0", "--callbacks.samples.every_n_epochs", "5")
TEXTS = ("--callbacks.samples", "src.callbacks.samples.SampleTexts", "--callbacks.samples.prompt", "a")


@pytest.fixture(autouse=True)
def drawing(config: Path) -> None:
    config.write_text(config.read_text().replace("plain.Plain", "test_samples.Drawing"))


@pytest.mark.parametrize(
    ("samples", "kind", "tags"),
    [(IMAGES, "images", {"generated/val", "reconstructed/val"}), (TEXTS, "tensors", {"generated/val/text_summary"})],
)
def test_showing_samples_leaves_training_as_it_was(
    train: Train, samples: tuple[str, ...], kind: str, tags: set[str]
) -> None:
    assert train(*FIT, "--run_name", "with", *samples).code == 0
    assert train(*FIT, "--run_name", "without").code == 0
    weights = [torch.load(f"logs/plain/{name}/checkpoints/last.ckpt")["state_dict"] for name in ("with", "without")]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    shown = EventAccumulator("logs/plain/with").Reload().Tags()[kind]
    assert {tag for tag in shown if tag.startswith(("generated", "reconstructed"))} == tags


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ((*IMAGES, *NONE), "num_images and every_n_epochs must be at least 1, got 0, 5"),
        ((*TEXTS, "--callbacks.samples.prompt", ""), "prompt must not be empty; write at least one character"),
        ((*TEXTS, "--callbacks.samples.temperature", "0"), "temperature must be above 0, num_bytes, top_k and every"),
        ((*TEXTS, "--callbacks.samples.top_k", "0"), "at least 1, got 0.8, 200, 0 and 1"),
        (IMAGES, "Plain has no sample(); take VAEModule or GANModule"),
        (TEXTS, "Plain has no generate(); take LanguageModelModule"),
    ],
)
def test_mistakes(train: Train, config: Path, samples: tuple[str, ...], message: str) -> None:
    if message.startswith("Plain"):
        config.write_text(config.read_text().replace("test_samples.Drawing", "plain.Plain"))
    result = train(*FIT, *samples)
    assert result.code == 2
    assert message in result.err
