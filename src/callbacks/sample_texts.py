from textwrap import indent
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from src.callbacks.helpers.media import send, steps_so_far
from src.callbacks.helpers.samples import Samples
from src.callbacks.helpers.undisturbed import uncompiled


class SampleTexts(Samples):
    """Show how a language model goes on with a prompt: after validation and test in the loggers, after `predict` here.

    The module has a method `generate`, as LanguageModelModule. The random numbers are the same each time and are not
    taken from training's.

    Args:
        prompt: The text's beginning, at least one character.
        num_bytes: How many bytes are added, at least 1.
        temperature: Above 0; below 1 takes likely bytes more often, above 1 less often.
        top_k: Choose among so many of the likeliest bytes only, at least 1; null for all.
        every_n_epochs: Show a sample after the validation of every so many epochs, at least 1.
    """

    needed, example = ("generate",), "LanguageModelModule"

    def __init__(
        self,
        prompt: str,
        num_bytes: int = 200,
        temperature: float = 0.8,
        top_k: int | None = 40,
        every_n_epochs: int = 1,
    ) -> None:
        if not prompt:
            raise ValueError("SampleTexts: prompt must not be empty; write at least one character")
        if temperature <= 0 or min(num_bytes, top_k or 1, every_n_epochs) < 1 or top_k == 0:
            raise ValueError(
                "SampleTexts: temperature must be above 0, num_bytes, top_k and every_n_epochs at least 1, got "
                f"{temperature}, {num_bytes}, {top_k} and {every_n_epochs}"
            )
        super().__init__(every_n_epochs)
        self.prompt, self.num_bytes, self.temperature, self.top_k = prompt, num_bytes, temperature, top_k

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the text."""
        text = self._generate(pl_module)
        if trainer.is_global_zero:
            print(text)

    def send(self, trainer: Trainer, module: Any, stage: str) -> None:
        """Send the text."""
        as_it_is = indent(self._generate(module), "    ", lambda line: True)  # Markdown's form for it
        send(trainer, f"generated/{stage}", as_it_is, steps_so_far(trainer))

    def _generate(self, module: Any) -> str:
        generator = torch.Generator(module.device).manual_seed(0)
        with uncompiled(module):  # the text grows: no two shapes are alike
            text: str = module.generate(self.prompt, self.num_bytes, self.temperature, self.top_k, generator)
        return text
