from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from trainworks.callbacks.helpers.batch import inputs_of, loss_of
from trainworks.datamodules.annotations import title_of
from trainworks.errors import listed


class Inspected(Exception):
    """The batch was reached; what was found is the message."""


class BatchInspector(Callback):
    """Look into one batch of a training and end it there, saying where values that are not finite begin.

    The command `replay` uses it.

    Args:
        batch: The number of the batch, counted over all epochs from 0.

    Raises:
        Inspected: With what was found, after the batch.
    """

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.first_batch: int | None = None  # that the training goes through, once it has begun
        self._layers: list[str] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note where the training begins."""
        self.first_batch = trainer.fit_loop.total_batch_idx + 1

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Watch every layer from here on."""
        if trainer.fit_loop.total_batch_idx == self.batch:
            torch.compiler.set_stance("force_eager")  # compiled code would not call the hooks
            for name, layer in pl_module.named_modules():
                if not list(layer.children()):
                    layer.register_forward_hook(partial(self._watch, name))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Say what was seen."""
        if trainer.fit_loop.total_batch_idx == self.batch:
            torch.compiler.set_stance("default")
            raise Inspected("\n".join([*_samples(trainer, batch, batch_idx), self._cause(pl_module, outputs)]))

    def _watch(self, name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        if not _is_finite(output):
            reason = "from finite inputs" if _is_finite(inputs) else "from inputs that were not finite already"
            self._layers.append(f"{name} ({type(layer).__name__}), {reason}")

    def _cause(self, module: LightningModule, outputs: Any) -> str:
        if self._layers:
            return f"first layer whose output is not finite: {self._layers[0]}"
        if not _is_finite(loss_of(outputs)):
            return "every layer's output is finite, the loss is not: look at the loss and the targets"
        weights = [name for name, parameter in module.named_parameters() if not _is_finite(parameter)]
        if weights:
            return f"the loss is finite, but after the step {len(weights)} weights are not: {', '.join(weights[:3])}"
        return "everything is finite here: the run did not repeat exactly, or another batch is meant"


def _samples(trainer: Trainer, batch: Any, batch_idx: int) -> list[str]:
    """Say which samples the batch consists of, and which of them are not finite themselves."""
    datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
    sampler: Any = getattr(getattr(trainer.train_dataloader, "batch_sampler", None), "sampler", None)
    inputs = inputs_of(batch)
    if not hasattr(sampler, "keys") or not isinstance(inputs, Tensor):
        return [f"batch {batch_idx} of epoch {trainer.current_epoch}"]
    keys = sampler.keys()[batch_idx * len(inputs) : (batch_idx + 1) * len(inputs)] % sampler.length
    train = datamodule.splits["train"]
    names = [title_of(train, int(key)) for key in keys]
    bad = [name for name, sample in zip(names, inputs, strict=True) if not _is_finite(sample)]
    lines = [f"batch {batch_idx} of epoch {trainer.current_epoch}, {len(names)} samples: {listed(names)}"]
    return lines + ([f"inputs that are not finite: {len(bad)} samples: {listed(bad)}"] if bad else [])


def _is_finite(node: Any) -> bool:
    tensors = [leaf for leaf in tree_leaves(node) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
