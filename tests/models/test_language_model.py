import csv
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from src.datamodules.text import TextDataModule
from src.models.language_model import LanguageModelModule
from trainworks.models import load_model
from trainworks.testing import ROOT, Train

CONFIG = str(ROOT / "configs/gpt.yaml")
RUN = f"logs/{Path(CONFIG).stem}/a"
TINY = ("--model.net.width", "8", "--model.net.num_layers", "1")


class NextByte(nn.Module):
    """Expects the byte after the one it sees; a little less each other."""

    max_length = 4

    def forward(self, tokens: Tensor) -> Tensor:
        assert tokens.shape[1] <= self.max_length
        return -0.1 * ((torch.arange(256) - tokens[..., None] - 1) % 256).float()


def make_module() -> LanguageModelModule:
    return LanguageModelModule(NextByte(), nn.CrossEntropyLoss(), partial(torch.optim.SGD, lr=0.1))


def three_bytes_bits(train: np.ndarray, test: np.ndarray) -> float:
    """What a model takes that counted which byte follows which two, smoothed by what follows one and none."""
    chances = np.full(256, 1 / 256, dtype=np.float32)
    for order in range(3):
        counts = np.zeros((256,) * (order + 1), dtype=np.float32)
        np.add.at(counts, tuple(train[k : len(train) - order + k] for k in range(order + 1)), 1)
        chances = (counts + 5 * chances) / (counts.sum(axis=-1, keepdims=True) + 5)
    return float(-np.log2(chances[test[:-2], test[1:-1], test[2:]]).mean())


@pytest.mark.long
def test_it_learns_more_than_what_follows_two_bytes(train: Train) -> None:
    small = ("--model.net.width", "64", "--model.net.num_layers", "2", "--data.length", "64")
    words = ("--trainer.max_epochs", "3", "--trainer.limit_train_batches", "250", "--callbacks.samples.num_bytes", "50")
    result = train("--config", CONFIG, "--run_name", "a", *small, *words)
    assert (result.code, result.err) == (0, "")
    summary = dict(line.split("  ", 1) for line in result.out.splitlines()[-8:] if "  " in line)
    data = TextDataModule(length=1, stride=1)
    data.setup("fit")
    texts = (data.splits[name].inputs[:, 0].numpy() for name in ("train", "test"))  # type: ignore[attr-defined]
    reached, baseline = float(summary["test/bits_per_character"]), three_bytes_bits(*texts)
    assert 2.4 < baseline < 2.9
    assert reached < baseline

    events = EventAccumulator(RUN).Reload()
    shown = {tag: len(events.Tensors(tag)) for tag in events.Tags()["tensors"] if tag.startswith("generated")}
    assert shown == {"generated/val/text_summary": 3, "generated/test/text_summary": 1}
    assert events.Tensors("generated/test/text_summary")[0].tensor_proto.string_val[0].startswith(b"    The ")

    result = train("predict", "--config", CONFIG, "--callbacks.samples.prompt", "When a class")
    assert "\nWhen a class" in result.out
    rows = list(csv.DictReader(Path(f"{RUN}/predictions.csv").read_text().splitlines()))
    assert np.mean([float(row["bits_per_byte"]) for row in rows]) == pytest.approx(reached, rel=0.01)
    module = load_model(f"{RUN}/checkpoints/best.ckpt")
    assert len(module.generate("The", 70)) == 73  # type: ignore[operator]
    one, two = module.predict(["The language", "a"])
    assert one.text.startswith("The language") and len(one.text.encode()) >= 200
    assert 0 < one.bits_per_byte < 12 and np.isnan(two.bits_per_byte)
    assert module.predict("The language") == one


def test_the_likeliest_byte_goes_on_with_a_prompt_of_any_length() -> None:
    module = make_module()
    assert module.generate("abcdefgh", 5, top_k=1) == "abcdefghijklm"
    assert module.generate("a", 5, temperature=1e-3) == "abcdef"


def test_chance_comes_from_the_generator_alone() -> None:
    module, before = make_module(), torch.get_rng_state()
    texts = [module.generate("a", 30, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_top_k_leaves_out_all_others() -> None:
    text = make_module().generate("!", 25, temperature=9.0, top_k=3)
    assert set(np.diff(list(text.encode("latin-1"))).tolist()) == {1, 2, 3}


def test_the_loss_is_over_all_bytes() -> None:
    batch = torch.tensor([[1, 2, 3]], dtype=torch.uint8), torch.tensor([[2, 3, 9]], dtype=torch.uint8)
    loss, logits, targets = make_module().step(batch)
    expected = -logits.log_softmax(dim=2)[0, torch.arange(3), torch.tensor([2, 3, 9])].mean()
    assert loss == pytest.approx(expected)
    assert targets.dtype == torch.int64
    columns = make_module().predict_step(batch, 0)
    assert columns["bits_per_byte"].tolist() == pytest.approx([float(loss) / np.log(2)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data.path", "nope.txt"), "nope.txt: no such file"),
        (("--model.net.max_length", "8"), "a sequence has 128 tokens, but max_length is 8"),
    ],
)
def test_mistakes(train: Train, words: tuple[str, str], message: str) -> None:
    result = train("fit", "--config", CONFIG, *TINY, "--trainer.limit_train_batches", "1", *words)
    assert result.code == 2
    assert re.search(message, result.err), result.err
