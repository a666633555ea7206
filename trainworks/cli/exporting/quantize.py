"""A model of ONNX in fewer bits: the network's layers, never what is done to its inputs before."""

import copy
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from trainworks.errors import RunFailure

MAX_CALIBRATION, MAX_FLOAT_LAYERS = 256, 8
QUANTIZED = ("Conv", "Gemm", "MatMul")
SCOPES = "pkg.torch.onnx.name_scopes"  # where torch.onnx says of which part of the module a node is


def half(model: Any) -> Any:
    """Return the model with the network in float16; inputs and outputs keep their types."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    before = [node.name for node in model.graph.node if not _layer(node)]
    with warnings.catch_warnings(action="ignore"):  # of numbers that float16 rounds; the metrics tell
        return convert_float_to_float16(copy.deepcopy(model), keep_io_types=True, node_block_list=before)


def int8(model: Any, inputs: Tensor, accepts: Callable[[Any], None]) -> tuple[Any, list[str]]:
    """Return the model with layers in int8, and the names of those that stay float.

    Args:
        model: A model of ONNX, written by torch.onnx from an `Exported`.
        inputs: Samples to calibrate with.
        accepts: Called with a model; raises a RunFailure if it is too bad. Then the layers that change the outputs
            most, at most 8, are left float one after the other.

    Raises:
        RunFailure: If no model was accepted.
    """
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    model = onnx.shape_inference.infer_shapes(model)
    weights = {item.name for item in model.graph.initializer}
    layers = {
        node.name: _layer(node)
        for node in model.graph.node
        if node.op_type in QUANTIZED and _layer(node) and node.input[1] in weights
    }
    if not layers:
        raise RunFailure("it has no layers that can be quantized")
    ranges = _calibrated(model, inputs)

    def quantized(names: list[str]) -> Any:
        types = (QuantType.QInt8, QuantType.QInt8)
        made = QDQQuantizer(copy.deepcopy(model), True, False, *types, ranges, names, [], list(QUANTIZED), {})
        return made.quantize_model()

    try:
        accepts(found := quantized(list(layers)))
        return found, []
    except RunFailure as error:
        reason = error
    expected = _outputs(model, inputs)
    changes = {name: _distance(_outputs(quantized([name]), inputs), expected) for name in layers}
    worst = sorted(layers, key=changes.__getitem__, reverse=True)[:MAX_FLOAT_LAYERS]
    for count in range(1, len(worst) + (len(worst) < len(layers))):
        try:
            accepts(found := quantized([name for name in layers if name not in worst[:count]]))
            return found, [layers[name] for name in worst[:count]]
        except RunFailure as error:
            reason = error
    raise RunFailure(f"{reason}; with {', '.join(layers[name] for name in worst)} in float32, too")


def _layer(node: Any) -> str:
    """Return the name of the module's layer that a node is of; an empty text for what stands before the module."""
    scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "")
    names = [name.strip("' ") for name in scopes.strip("[]").split(",")]
    of_module = [name for name in names if name.startswith("module.")]
    return of_module[-1].removeprefix("module.") if of_module else ""


def _calibrated(model: Any, inputs: Tensor) -> Any:
    """Return the range of each activation over the inputs."""
    from onnxruntime.quantization import CalibrationDataReader
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    class Reader(CalibrationDataReader):
        batches = ({"inputs": sample[None]} for sample in inputs.numpy())

        def get_next(self) -> dict[str, Any] | None:
            return next(self.batches, None)

    import onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "float.onnx")
        onnx.save(model, path)
        augmented = str(Path(folder, "augmented.onnx"))
        calibrator = create_calibrator(path, list(QUANTIZED), augmented, CalibrationMethod.MinMax)
        calibrator.collect_data(Reader())
        return calibrator.compute_data()


def _outputs(model: Any, inputs: Tensor) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"inputs": inputs[:64].numpy()})


def _distance(found: list[Any], expected: list[Any]) -> float:
    """Return the mean absolute difference of all outputs."""
    return sum(
        float(np.abs(one.astype(float) - two.astype(float)).mean()) for one, two in zip(found, expected, strict=True)
    )
