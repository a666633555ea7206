import math
import pydoc_data.topics
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainworks.callbacks.helpers.batch import inputs_of
from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.datasets.array_dataset import ArrayDataset
from trainworks.errors import UsageError
from trainworks.models.base import BaseModule
from trainworks.models.results import TextResult


@dataclass(kw_only=True, eq=False, repr=False)
class TextDataModule(BaseDataModule):
    """Python's own reference as bytes, in windows; the targets are one byte on."""

    length: int = 128

    def load_splits(self) -> dict[str, ArrayDataset]:  # type: ignore[override]
        text = torch.frombuffer(bytearray("\n\n".join(pydoc_data.topics.topics.values()), "utf-8"), dtype=torch.uint8)
        windows = text.unfold(0, self.length + 1, self.length)
        return {"all": ArrayDataset(windows[:, :-1], windows[:, 1:])}

    def sources(self, given: Any) -> list[Any]:
        return list(given) if isinstance(given, list | tuple) else [given]

    def read(self, source: Any) -> Tensor:
        if not isinstance(source, str) or not source:
            raise UsageError(f"a text must be a string of at least one character, got {source!r}")
        return torch.frombuffer(bytearray(source, "utf-8"), dtype=torch.uint8)


class LanguageModelModule(BaseModule):
    """Predict each byte of a text from those before it."""

    def step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        inputs, targets = (part.long() for part in batch)
        logits = self.net(inputs)
        return self.loss(logits.flatten(0, 1), targets.flatten()), logits, targets

    def outputs(self, texts: Tensor) -> Tensor:
        return self.net(texts.long())

    def predict_step(self, batch: Any, batch_idx: int) -> list[TextResult]:
        results = []
        for text in inputs_of(batch):
            known, prompt = text.long()[None], bytes(text.tolist()).decode()
            nats = F.cross_entropy(self.net(known[:, :-1]).transpose(1, 2), known[:, 1:]) if len(text) > 1 else math.nan
            for _ in range(200):
                likeliest = self.net(known[:, -self.net.max_length :])[:, -1:].argmax(2)  # type: ignore[operator]
                known = torch.cat([known, likeliest], dim=1)
            longer = bytes(known[0].tolist()).decode(errors="replace")
            results.append(TextResult(prompt, longer, float(nats) / math.log(2)))
        return results


class GPT(nn.Module):
    """A transformer that predicts the next token, with the weights of its embedding in its output too."""

    def __init__(
        self, vocab_size: int, max_length: int, width: int, num_layers: int, num_heads: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.tokens = nn.Embedding(vocab_size, width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.positions = nn.Embedding(max_length, width)
        self.blocks = nn.ModuleList(Block(width, num_heads, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)


class Block(nn.Module):
    """Causal self-attention, then an MLP, each added to what came in."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        layers = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        self.mlp, self.dropout = nn.Sequential(*layers), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(self.norm(x)).unflatten(2, (3, self.num_heads, -1)).transpose(1, 3).unbind(2)
        mixed = F.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.mlp(x))
