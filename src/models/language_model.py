import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from trainworks import BaseModule, TextResult, inputs_of

NUM_BYTES = 200  # that a text goes on with


class LanguageModelModule(BaseModule):
    """Predict each byte of a text from those before it.

    The network maps bytes of shape (B, T), values 0 to 255, to logits of shape (B, T, 256), and has a `max_length`. A
    batch is (inputs, targets), both of shape (B, T), the targets one byte further on.
    """

    def step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss, logits and targets of one batch."""
        inputs, targets = (part.long() for part in batch)
        logits = self.net(inputs)
        return self.loss(logits.flatten(0, 1), targets.flatten()), logits, targets

    def outputs(self, texts: Tensor) -> Tensor:
        """Return the logits of the byte after each of a text's bytes, shape (B, T, 256)."""
        return self.net(texts.long())

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """Return how many bits a byte of each sample takes, shape (B,); of texts alone also what each goes on with."""
        if isinstance(batch, tuple | list) and len(batch) == 2:
            inputs, targets = (part.long() for part in batch)
            nats = F.cross_entropy(self.net(inputs).transpose(1, 2), targets, reduction="none")
            return {"bits_per_byte": nats.mean(dim=1) / math.log(2)}
        return [self._continued(text) for text in inputs_of(batch)]

    def _continued(self, text: Tensor) -> TextResult:
        """Return what a text, as bytes of shape (L,), goes on with."""
        shown = text[None, -self.net.max_length - 1 :]  # type: ignore[operator]
        bits = self.predict_step((shown[:, :-1], shown[:, 1:]), 0)["bits_per_byte"] if len(text) > 1 else math.nan
        prompt, generator = bytes(text.tolist()).decode(errors="replace"), torch.Generator(self.device).manual_seed(0)
        return TextResult(prompt, self.generate(prompt, NUM_BYTES, 0.8, 40, generator), float(bits))

    @torch.no_grad()
    def generate(
        self,
        prompt: str,
        num_bytes: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
    ) -> str:
        """Return `prompt` and what the network goes on with; bytes that are not UTF-8 become U+FFFD.

        Args:
            prompt: At least one character.
            num_bytes: How many bytes are added.
            temperature: Above 0; below 1 takes likely bytes more often, above 1 less often.
            top_k: Choose among so many of the likeliest bytes only; None for all.
            generator: Where the random numbers come from, on the network's device.
        """
        text = torch.tensor([list(prompt.encode())], device=self.device)
        for _ in range(num_bytes):
            logits = self.net(text[:, -self.net.max_length :])[:, -1].float() / temperature  # type: ignore[operator]
            if top_k is not None:
                logits[logits < logits.topk(min(top_k, logits.shape[1])).values[:, -1:]] = -math.inf
            chosen = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)
            text = torch.cat([text, chosen], dim=1)
        return bytes(text[0].tolist()).decode(errors="replace")
