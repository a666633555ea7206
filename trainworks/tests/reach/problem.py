"""Networks for the smallest of problems, and what the tests want to know of a training."""

from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector


def halve(step: int) -> float:
    """Return a factor of the learning rate."""
    return 0.5**step


class Net(nn.Module):
    """Two layers over 6 features."""

    def __init__(self, num_outputs: int = 3, last: nn.Module | None = None) -> None:
        super().__init__()
        self.hidden = nn.Linear(6, 8)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, num_outputs)
        self.last = last or nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.head(self.norm(torch.tanh(self.hidden(inputs)))))
        return outputs


class WordNet(nn.Module):
    """An embedding with sparse gradients under two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(20, 6, sparse=True)
        self.top = Net()

    def forward(self, words: Tensor) -> Tensor:
        outputs: Tensor = self.top(self.words(words))
        return outputs


class Record(Callback):
    """Keep the last training's losses, learning rates and weights of each step, and its end."""

    losses: ClassVar[list[float]] = []
    rates: ClassVar[list[list[float]]] = []
    weights: ClassVar[list[Tensor]] = []
    trained: ClassVar[dict[str, Any]] = {}

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        for kept in (self.losses, self.rates, self.weights):
            kept.clear()

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))
        self.weights.append(parameters_to_vector(pl_module.parameters()).detach())

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.trained.update(module=pl_module, optimizer=trainer.optimizers[0], trainer=trainer)
