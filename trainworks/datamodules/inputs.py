from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torch.utils.data import default_collate

from trainworks.datamodules.randomness import kept_generators
from trainworks.datamodules.transforms.apply import apply_transforms
from trainworks.errors import UsageError


class InputReader:
    """Read inputs from outside the data, in the way in which those were read that a network was trained on.

    A checkpoint keeps what is needed for it of the data. A subclass of which an input is read in another way defines
    `read`, and `suffixes` or `sources` where several stand in a folder or a file.
    """

    input_shape: list[int | None] | None = None  # of one input before the transforms; None for a size that differs
    input_dtype: str | None = None  # of its numbers, such as "float32"; of anything else its type, such as "tuple"
    suffixes: tuple[str, ...] = ()  # of the files of a folder that are inputs; if empty, those of images or of arrays
    columns: list[str] | None = None  # of a table's features, in their order
    class_names: list[str] | None = None
    category_ids: dict[str, Any] | None = None  # numbers of the classes in annotations of boxes, by name
    form: Any = None  # what images are made into, see ImageFormat
    image_scale: float | None = 1.0  # factor by which images were resized for the training; None if nobody knows
    any_size = False  # whether the network takes images as they are, though all were of one size in training
    collate: Any
    eval_transform: list[nn.Module]

    @property
    def reads_images(self) -> bool:
        """Whether an input is an image: uint8 of shape (C, H, W), or of a format; also where nothing is known."""
        is_image = self.input_shape is None or (len(self.input_shape) == 3 and self.input_shape[0] in (1, 3))
        return self.form is not None or (is_image and self.input_dtype in (None, "uint8"))

    def sources(self, given: Any) -> Sequence[Any]:
        """Return inputs for `read` one by one: files of a folder, items of a list, a batch or a file of arrays."""
        from trainworks.datamodules.input_files import split_inputs  # which a training needs not

        return split_inputs(self, given)

    def read(self, source: Any) -> Any:
        """Return an input as the datasets hold it, before the transforms; raise a ValueError where that is impossible.

        Args:
            source: An image (a path, a Pillow image, an array (H, W, C) or a tensor (C, H, W) of uint8), or else
                numbers in the shape of those that were trained on, or the path of an .npy file of them.
        """
        from trainworks.datamodules.input_files import read_input

        return read_input(self, source)

    def rows(self, source: Any) -> Any:
        """Return an image at the scale of those of the training, of which some rows are read at a time."""
        from trainworks.datamodules.datasets.image_rows import ImageRows

        if not self.reads_images or self.image_scale is None:
            raise UsageError("tiles are for masks and boxes, from a checkpoint that says how its images were resized")
        num_channels = self.form.num_channels if self.form else (self.input_shape or [3])[0] or 3
        return ImageRows(source, num_channels, getattr(self.form, "dtype", "uint8"), self.image_scale)

    def batch_of(self, sources: Sequence[Any], device: torch.device | str) -> Any:
        """Return inputs as a batch on a device, ready for the network; a list where their sizes differ."""
        batch = self.join([self.read(source) for source in sources])
        return self.transformed(tree_map_only(Tensor, lambda part: part.to(device), batch))

    def batch_for(self, module: Any, inputs: Any) -> Any:
        """Return inputs, ready for the network, as the batch that a module's `predict_step` takes."""
        dtype = next((weight.dtype for weight in module.parameters() if weight.is_floating_point()), torch.float32)
        inputs = tree_map_only(Tensor, lambda part: part.to(dtype) if part.is_floating_point() else part, inputs)
        is_pair = not isinstance(inputs, Tensor) and hasattr(module, "results")
        return (inputs,) if is_pair else inputs  # a BaseModule's batch begins with its inputs

    def join(self, inputs: list[Any]) -> Any:
        """Return inputs as a batch: joined as `collate` joins those of samples, or stacked if they have one size."""
        if hasattr(self.collate, "join"):
            return self.collate.join(inputs)
        if not all(isinstance(item, Tensor) for item in inputs):
            batch = default_collate(inputs)
            return tuple(batch) if isinstance(batch, list) else batch
        return torch.stack(inputs) if len({item.shape for item in inputs}) == 1 else inputs

    def transformed(self, inputs: Any) -> Any:
        """Apply the transforms of evaluation to a batch, or to each of a list."""
        if isinstance(inputs, list):
            return [self.transformed(item[None])[0] for item in inputs]
        return apply_transforms(self.eval_transform, (inputs, torch.zeros(1)))[0]  # beside targets, as in the training

    def in_original(self, source: Any, result: Any, target: Any = None) -> tuple[Any, Any]:
        """Return a result and a target with boxes or a mask in pixels of their image before it was made of a format."""
        if self.form is None or not (hasattr(result, "boxes") or hasattr(result, "mask")):
            return result, target
        from torchvision.ops import clip_boxes_to_image

        from trainworks.datamodules.datasets.decode import size_of

        size = size_of(source, self.form.num_channels, self.form.dtype)
        place = self.form.place(*size)
        if hasattr(result, "source"):
            result.source, result.class_names = source, result.class_names or self.class_names
        if hasattr(result, "mask"):
            return replace(result, mask=place.original_mask(result.mask)), target
        if isinstance(target, Mapping) and "boxes" in target:
            target = {**target, "boxes": place.original_boxes(target["boxes"])}
        return replace(result, boxes=clip_boxes_to_image(place.original_boxes(result.boxes), size)), target

    def input_state(self, train: Any) -> dict[str, Any]:
        """Return what a checkpoint keeps, found out from the first training sample."""
        served = getattr(train, "serves_batches", False)
        with suppress(Exception), kept_generators():  # whatever a dataset does, it is not worth a training
            if self.input_dtype is None and (served or not self.form):
                sample = train[0]
                sample = sample[0] if isinstance(sample, tuple | list) else sample
                self.input_dtype = type(sample).__name__
                if isinstance(sample, np.ndarray | Tensor | float | int):
                    numbers = torch.as_tensor(sample)
                    self.input_dtype = str(numbers.dtype).removeprefix("torch.")
                    num_free = 0 if served or self.collate is None else getattr(self.collate, "num_free", numbers.ndim)
                    self.input_shape = [None] * num_free + list(numbers.shape[num_free:])
        names = ["input_shape", "input_dtype", "columns"]
        names += ["image_scale"] * bool(self.form) + ["category_ids"] * bool(self.category_ids)
        return {name: getattr(self, name) for name in names}

    def load_input_state(self, states: Mapping[str, Any]) -> None:
        """Take over what a checkpoint keeps, by the name of the datamodule's class, so that no data need be loaded."""
        state = states.get(type(self).__qualname__, {})
        self.input_shape, self.input_dtype = state.get("input_shape"), state.get("input_dtype")
        self.columns, self.category_ids = state.get("columns"), state.get("category_ids")
        self.image_scale = state.get("image_scale", self.image_scale)
        self.class_names = self.class_names or state.get("class_names") or list(state.get("class_counts", ())) or None
