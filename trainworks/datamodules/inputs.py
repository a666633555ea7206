from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional

from trainworks.datamodules.transforms.apply import apply_transforms
from trainworks.errors import UsageError, no_such_file


class InputReader:
    """Read inputs from outside the data, in the way in which those were read that a network was trained on.

    A subclass may read other things. A checkpoint keeps what is needed for it of the data.
    """

    input_shape: list[int] | None = None  # of one input before the transforms; None where they differ
    columns: list[str] | None = None  # of a table's features, in their order
    class_names: list[str] | None = None
    form: Any = None  # what images are made into, see ImageFormat
    any_size = False  # whether the network takes images as they are, though all were of one size in training
    eval_transform: list[nn.Module]

    def sources(self, given: Any) -> list[Any]:
        """Return inputs for `read` one by one: the images of a folder, the arrays of a batch, the items of a list."""
        if isinstance(given, str | Path) and Path(given).is_dir():
            from trainworks.datamodules.datasets.file_index import find_images

            found = [str(Path(given, name)) for name in find_images(str(given))]
            if not found:
                raise UsageError(f"{given}: no images in this folder")
            return found
        several = isinstance(given, list | tuple) or (isinstance(given, np.ndarray | Tensor) and given.ndim == 4)
        return list(given) if several else [given]

    def read(self, source: Any) -> Any:
        """Return an input as the datasets hold it, before the transforms.

        Args:
            source: An image (a path, a Pillow image, an array (H, W, C) or a tensor (C, H, W) of uint8), or else
                numbers in the shape of those that were trained on.
        """
        shape = self.input_shape
        if self.form is None and shape is not None and not (len(shape) == 3 and shape[0] in (1, 3)):
            numbers = torch.as_tensor(source)
            if list(numbers.shape) != shape:
                raise UsageError(f"an input must have the shape {tuple(shape)}, got {tuple(numbers.shape)}")
            return numbers.float() if numbers.is_floating_point() else numbers
        from trainworks.datamodules.datasets.decode import fit_image, read_image  # a training of arrays needs neither

        if isinstance(source, str | Path) and not Path(source).is_file():
            raise UsageError(f"{source}: {no_such_file(Path(source))}")
        if self.form is not None:
            image, info = read_image(source, self.form.num_channels, self.form.size)
            return fit_image(image, self.form.size, self.form.fit == "crop", info)
        image, _ = read_image(source, shape[0] if shape else 3)
        if not shape or self.any_size or list(image.shape) == shape:
            return image
        return functional.resize(image, shape[1:], antialias=True)

    def batch_of(self, sources: list[Any], device: torch.device | str) -> Any:
        """Return inputs as a batch on a device, ready for the network; a list where their sizes differ."""
        return self.transformed(joined([self.read(source).to(device) for source in sources]))

    def batch_for(self, module: Any, inputs: Any) -> Any:
        """Return inputs, ready for the network, as the batch that a module's `predict_step` takes."""
        dtype = next((weight.dtype for weight in module.parameters() if weight.is_floating_point()), torch.float32)
        if isinstance(inputs, Tensor):
            return inputs.to(dtype) if inputs.is_floating_point() else inputs
        return (inputs,) if hasattr(module, "results") else inputs  # a BaseModule's batch begins with its inputs

    def transformed(self, inputs: Any) -> Any:
        """Apply the transforms of evaluation to a batch, or to each of a list."""
        if isinstance(inputs, Tensor):
            return apply_transforms(self.eval_transform, inputs)
        return [apply_transforms(self.eval_transform, item[None])[0] for item in inputs]

    def input_state(self, train: Any) -> dict[str, Any]:
        """Return what a checkpoint keeps, found out from the training samples where they are all alike."""
        if getattr(train, "serves_batches", False) and len(train):
            self.input_shape = list(train[0][0].shape)
        return {"input_shape": self.input_shape, "columns": self.columns}

    def load_input_state(self, states: Mapping[str, Any]) -> None:
        """Take over what a checkpoint keeps, by the name of the datamodule's class, so that no data need be loaded."""
        state = states.get(type(self).__qualname__, {})
        self.input_shape, self.columns = state.get("input_shape"), state.get("columns")
        self.class_names = self.class_names or state.get("class_names") or list(state.get("class_counts", ())) or None


def joined(inputs: list[Tensor]) -> Any:
    """Return inputs as one batch, a list of them where their sizes differ."""
    return torch.stack(inputs) if len({item.shape for item in inputs}) == 1 else inputs
