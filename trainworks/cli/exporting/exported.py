"""A trained module with the transforms before it, as torch.export and ONNX take it."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainworks.datamodules.transforms.fit_batch import FitBatch
from trainworks.errors import RunFailure, UsageError, first_line
from trainworks.models.predict import named_parts

ONNX_BYTES = 2**31 - 2**20  # of weights, at most: protobuf's limit
MIN_OPSET = 18  # of what torch.onnx writes


class Exported(nn.Module):
    """From inputs as a decoder gives them to what a result is made of: eval transforms, network, last function.

    Inputs are those of `data`, a datamodule, or ready for the network where it is None. A method of the module runs it.
    """

    def __init__(self, module: Any, data: Any, inputs: Tensor, method: str = "outputs") -> None:
        super().__init__()
        self.module, self.method = module, method
        limit = getattr(module, "threshold", None)
        self.threshold = limit if isinstance(limit, float) else 0.0
        self.transforms = nn.ModuleList(data.eval_transform if data else ())
        self.max_length: int | None = None
        self.any_length = bool(data and data.input_shape and data.input_shape[0] is None)
        # sequences of whole numbers, such as the bytes of a text, whose length may or may not be free
        self.is_sequence = inputs.ndim == 2 and not inputs.is_floating_point()
        is_image = data is not None and inputs.ndim == 4 and inputs.dtype == torch.uint8
        is_detector = hasattr(getattr(module, "net", None), "nms_thresh")  # which sees images of other sizes otherwise
        self.any_size = is_image and (data.form is not None or (inputs.shape[1] in (1, 3) and not is_detector))
        fit: Any = getattr(data and data.form, "fit", "stretch")
        self.fit = FitBatch((inputs.shape[-2], inputs.shape[-1]), fit) if self.any_size else None

    def forward(self, inputs: Tensor) -> Any:
        """Return the module's output, such as probabilities, shape (B, ...), or several by name."""
        size, inputs = inputs.shape[-2:], inputs if self.fit is None else self.fit(inputs)
        for transform in self.transforms:
            inputs = transform(inputs)
        found = named_outputs(getattr(self.module, self.method)(inputs))
        if self.fit is not None and "boxes" in found:
            found["boxes"] = self.fit.boxes_in_original(found["boxes"], size) * (found["scores"] > 0)[..., None]
        return found["outputs"] if len(found) == 1 and "outputs" in found else found


def named_outputs(outputs: Any) -> dict[str, Tensor]:
    """Return one tensor as `outputs`, those of a mapping or dataclass by their names, those of a tuple numbered."""
    parts = named_parts(outputs)
    if parts is None:
        numbered = {f"output_{k}": part for k, part in enumerate(outputs)} if isinstance(outputs, tuple | list) else {}
        parts = {"outputs": outputs} if isinstance(outputs, Tensor) else numbered
    parts = {name: part for name, part in parts.items() if part is not None}
    if not parts or not all(isinstance(part, Tensor) for part in parts.values()):
        kinds = ", ".join(sorted({type(part).__name__ for part in parts.values() or [outputs]}))
        raise UsageError(f"an exported file returns a tensor, a tuple or a mapping of tensors, got {kinds}")
    return parts


def traced(exported: Exported, inputs: Tensor) -> tuple[Any, list[str]]:
    """Return the program of torch.export for any number of inputs at a time, and the names of its outputs."""
    inputs = inputs[:2] if len(inputs) > 1 else inputs.repeat(2, *[1] * (inputs.ndim - 1))  # 1 would be taken for fixed
    what = f"{type(exported.module).__name__}.{exported.method}"
    try:
        with torch.no_grad():
            found = exported(inputs)
    except UsageError:
        raise
    except Exception as error:  # whatever a method does with inputs that are not its own
        raise RunFailure(
            f"{what} cannot be run on inputs of shape {tuple(inputs.shape)}: {first_line(error)}"
        ) from error
    names = list(found) if isinstance(found, Mapping) else ["outputs"]
    batch, sides = torch.export.Dim("batch"), {}
    if exported.any_size:  # the size of the samples may be that of the network, which would be taken for the only one
        sides = {2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
        inputs = inputs.new_zeros(2, inputs.shape[1], inputs.shape[2] + 5, inputs.shape[3] + 2)
    choices: list[dict[int, Any]] = [{0: batch, **sides}]
    if exported.any_length:
        choices = [{0: batch, 1: torch.export.Dim("length")}]
    elif exported.is_sequence and inputs.shape[1] > 2:
        choices.insert(0, {0: batch, 1: torch.export.Dim("length", max=inputs.shape[1])})
    for dimensions in choices:
        try:
            with torch.no_grad(), warnings.catch_warnings(action="ignore"):  # of what torch will change in itself
                program = torch.export.export(exported, (inputs,), dynamic_shapes=(dimensions,), strict=False)
            exported.any_length = 1 in dimensions
            exported.max_length = getattr(dimensions.get(1), "max", None)
            return program, names
        except Exception as error:  # whatever a network does that cannot be traced
            failure = error
    raise RunFailure(f"{type(exported.module).__name__} cannot be exported: {first_line(failure)}") from failure


def as_onnx(exported: Exported, program: Any, names: list[str], opset: int | None = None) -> Any:
    """Return the program as a model of ONNX."""
    num_bytes = sum(value.nbytes for value in exported.state_dict().values())
    if num_bytes > ONNX_BYTES:
        wide = f"{num_bytes / 1e9:.2f} GB of weights, and an .onnx file holds at most {ONNX_BYTES / 1e9:.2f}"
        raise RunFailure(f"{type(exported.module).__name__} has {wide}; write --format pt2")
    how: Any = {"input_names": ["inputs"], "output_names": names, "opset_version": opset, "verbose": False}
    try:
        with warnings.catch_warnings(action="ignore"):
            written: Any = torch.onnx.export(program, **how)
    except Exception as error:  # an operation that ONNX does not have
        raise RunFailure(f"{type(exported.module).__name__} cannot be written as ONNX: {first_line(error)}") from error
    content = written.model_proto
    found = next(item.version for item in content.opset_import if item.domain == "")
    if opset not in (None, found):
        raise RunFailure(f"torch.onnx cannot write opset {opset} of it, only {found}")
    return content


def write(content: Any, path: Path, described: dict[str, Any]) -> None:
    """Write a program, or a model of ONNX, with its description."""
    try:
        if path.suffix == ".pt2" or isinstance(content, torch.export.ExportedProgram):
            torch.export.save(content, path, extra_files={"metadata.json": json.dumps(described)})
            return
        import onnx

        onnx.helper.set_model_props(content, {key: json.dumps(value) for key, value in described.items()})
        onnx.save(content, path)
    except (OSError, RuntimeError) as error:
        raise RunFailure(f"{path.name} cannot be written: {first_line(error)}") from error
