"""What an exported file is tried on: samples of the data, or inputs in their place."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from trainworks.datamodules.randomness import kept_generators
from trainworks.errors import UsageError, first_line
from trainworks.models.predict import build

NUM_SAMPLES = 64


@dataclass
class Samples:
    """Inputs as the file takes them, and where they come from."""

    inputs: Tensor
    what: str  # such as "validation samples"
    data: Any = None  # the datamodule whose transforms the file carries out; None for inputs ready for the network
    splits: dict[str, Any] = field(default_factory=dict)  # the datasets by name; empty where the data is not here


def samples_for(model: Any, method: str, shape: str | None) -> Samples:
    """Return samples for a method of a loaded module, or random inputs of a shape such as "3,224,224".

    Raises:
        UsageError: If nobody knows what its inputs are like, or they are not one tensor.
    """
    if shape is not None:
        size = [int(number) for number in shape.split(",")]
        return Samples(_random([NUM_SAMPLES, *size], torch.float32), "random inputs of --input_shape")
    made = getattr(model, "export_inputs", lambda *_: None)(method, NUM_SAMPLES)
    if made is not None:
        return Samples(_one_tensor(made), f"inputs of {type(model).__name__}.export_inputs")
    try:
        data = model.predict.data
    except UsageError:
        inputs, what = _first_batch(model)
        return Samples(_one_tensor(inputs), what)
    try:
        splits = data.divide(data.load_splits())  # nothing is decoded beforehand
        name = "val" if "val" in splits else "train"
        inputs = joined_inputs(data, splits[name], range(min(NUM_SAMPLES, len(splits[name]))))
        what = f"{'validation' if name == 'val' else 'training'} samples"
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        splits, what = {}, f"random inputs, since the data is not here ({first_line(error)})"
        size = data.input_shape or [getattr(data.form, "num_channels", 3), *[getattr(data.form, "size", 224)] * 2]
        dtype = getattr(torch, data.input_dtype or ("uint8" if len(size) == 3 else "float32"), torch.float32)
        inputs = _random([NUM_SAMPLES, *(side or 8 for side in size)], dtype)
    return Samples(_one_tensor(inputs), what, data, splits)


def joined_inputs(data: Any, split: Any, indices: Iterable[int]) -> Any:
    """Return inputs of a split as a batch, without their targets."""
    items = [split[index] for index in indices]
    return data.join([item[0] if isinstance(item, tuple) else item for item in items])


def _first_batch(model: Any) -> tuple[Any, str]:
    """Return the inputs of the first batch of loaders that are not the library's, and what they are."""
    source, described = model, model.predict.description
    try:
        if described is not None:
            source = build(described, LightningDataModule, "this checkpoint")
            source.prepare_data()
            source.setup("fit")
        for stage, name in (("validation", "val_dataloader"), ("training", "train_dataloader")):
            if is_overridden(name, source) and (loader := getattr(source, name)()) is not None:
                with kept_generators():
                    batch = next(iter(loader[0] if isinstance(loader, list | tuple) else loader))
                return batch[0] if isinstance(batch, list | tuple) else batch, f"inputs of its first {stage} batch"
        reason = "it has no loaders"
    except Exception as error:  # of code that is not the library's
        reason = f"{type(error).__name__}: {error}"
    advice = "write the shape of one, without the batch, such as --input_shape 3,224,224"
    raise UsageError(f"nobody knows what inputs {type(model).__name__} takes ({reason}); {advice}")


def _one_tensor(inputs: Any) -> Tensor:
    if not isinstance(inputs, Tensor):
        kind = "inputs of different size" if isinstance(inputs, list) else "more than one tensor as inputs"
        raise UsageError(f"the network takes {kind}, and an exported file takes one tensor: it stays here")
    return inputs.as_subclass(Tensor)


def _random(size: list[int], dtype: torch.dtype) -> Tensor:
    """Return random inputs of a shape and type."""
    numbers = torch.rand(size, generator=torch.Generator().manual_seed(0))
    return (numbers * {torch.uint8: 256, torch.int64: 2}.get(dtype, 1)).to(dtype)
