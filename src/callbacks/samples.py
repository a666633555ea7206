from textwrap import indent
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.utils import make_grid

from trainworks import UsageError, inputs_of, send_media, steps_so_far, uncompiled


class Samples(Callback):
    """What callbacks share that show what a module makes: after a test, and now and then after a validation.

    A subclass writes `send`, and names the method that the module must have and modules that have it.
    """

    needed: ClassVar[str]
    example: ClassVar[str]
    every_n_epochs: int

    def send(self, trainer: Trainer, module: Any, stage: str) -> None:
        """Send samples to the loggers; all ranks make them, since the network may be spread over them."""
        raise NotImplementedError

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look whether the module can do it."""
        if not hasattr(pl_module, self.needed):
            lacks = f"{type(pl_module).__name__} has no {self.needed}()"
            raise UsageError(f"{type(self).__name__}: {lacks}; take {self.example}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show samples now and then."""
        training = trainer.state.fn == "fit" and not trainer.sanity_checking
        if training and trainer.loggers and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self.send(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show samples."""
        if trainer.loggers:
            self.send(trainer, pl_module, "test")


class SampleImages(Samples):
    """Show images that a generative model makes, and some of the data beside what it makes of them.

    The module has a method `sample`, as GANModule, and `reconstruct` if it can do that too, as VAEModule. Both come
    after validation and test; the random numbers are the same each time and are not taken from training's.

    Args:
        num_images: Images shown of each kind, at least 1.
        every_n_epochs: Show them after the validation of every so many epochs, at least 1.
    """

    needed, example = "sample", "VAEModule or GANModule"

    def __init__(self, num_images: int = 64, every_n_epochs: int = 1) -> None:
        if min(num_images, every_n_epochs) < 1:
            got = f"got {num_images}, {every_n_epochs}"
            raise ValueError(f"SampleImages: num_images and every_n_epochs must be at least 1, {got}")
        self.num_images, self.every_n_epochs = num_images, every_n_epochs
        self._images: Tensor | None = None

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep images of the first batch."""
        if batch_idx == dataloader_idx == 0:
            self._images = inputs_of(batch)[: self.num_images]

    on_test_batch_end = on_validation_batch_end

    def send(self, trainer: Trainer, module: Any, stage: str) -> None:
        """Send what the module draws, and images beside what it makes of them."""
        if self._images is None:
            return
        generator = torch.Generator(module.device).manual_seed(0)
        made = module.sample(self.num_images, generator)
        step = steps_so_far(trainer)
        send_media(trainer, f"generated/{stage}", _grid(made), step)
        if hasattr(module, "reconstruct"):
            pairs = torch.stack([self._images.to(made) / 255, module.reconstruct(self._images)], dim=1).flatten(0, 1)
            send_media(trainer, f"reconstructed/{stage}", _grid(pairs), step)  # each beside its original
        self._images = None


def _grid(images: Tensor) -> Tensor:
    """Arrange images, shape (N, C, H, W), in one of shape (3, H', W'); tiny ones are enlarged."""
    scale = max(32 // max(images.shape[-2:]), 1)
    return make_grid(interpolate(images.float().cpu(), scale_factor=scale).clamp(0, 1), nrow=16)


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

    needed, example = "generate", "LanguageModelModule"

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
        self.prompt, self.num_bytes, self.temperature, self.top_k = prompt, num_bytes, temperature, top_k
        self.every_n_epochs = every_n_epochs

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the text."""
        text = self._generate(pl_module)
        if trainer.is_global_zero:
            print(text)

    def send(self, trainer: Trainer, module: Any, stage: str) -> None:
        """Send the text."""
        as_it_is = indent(self._generate(module), "    ", lambda line: True)  # Markdown's form for it
        send_media(trainer, f"generated/{stage}", as_it_is, steps_so_far(trainer))

    def _generate(self, module: Any) -> str:
        generator = torch.Generator(module.device).manual_seed(0)
        with uncompiled(module):  # the text grows: no two shapes are alike
            text: str = module.generate(self.prompt, self.num_bytes, self.temperature, self.top_k, generator)
        return text
