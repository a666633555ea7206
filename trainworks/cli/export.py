"""A trained module as one file that answers without this repository."""

import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainworks.cli.parser import mistakes_in_one_line
from trainworks.datamodules.datasets.decode import decode_image
from trainworks.datamodules.datasets.image_dataset import ImageFiles
from trainworks.datamodules.transforms.fit_batch import FitBatch
from trainworks.errors import RunFailure, UsageError, first_line
from trainworks.models.predict import load_model
from trainworks.runs.checkpoint_io import read_metrics
from trainworks.runs.find import run_of_checkpoint
from trainworks.runtime.threads import threads_for

ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")  # which are optional
TOLERANCE = 1e-4  # greatest difference to the module's own outputs
ONNX_BYTES = 2**31 - 2**20  # of weights, at most: protobuf's limit
SAMPLES, FILES, SIZES, ROUNDS = 64, 32, (1, 64), 21
RUN = {  # in a process that finds nothing of this project
    "onnx": "import onnxruntime; f = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
    "outputs = f.run(None, {'inputs': inputs})[0]",
    "pt2": "import torch; f = torch.export.load(sys.argv[1]).module()\n"
    "outputs = f(torch.from_numpy(inputs)).detach().numpy()",
}
SCRIPT = "import sys, numpy\ninputs = numpy.load(sys.argv[2])\n{}\nnumpy.save(sys.argv[3], outputs)\n"


class Exported(nn.Module):
    """From inputs as a decoder gives them to what a result is made of: eval transforms, network, last function."""

    def __init__(self, module: Any, data: Any, inputs: Tensor) -> None:
        super().__init__()
        self.module, self.transforms = module, nn.ModuleList(data.eval_transform)
        self.any_length = data.input_shape is not None and data.input_shape[:1] == [None]
        is_image = inputs.ndim == 4 and inputs.dtype == torch.uint8
        self.any_size = is_image and (data.form is not None or inputs.shape[1] in (1, 3))
        if self.any_size:
            fit: Any = getattr(data.form, "fit", "stretch")
            self.transforms.insert(0, FitBatch((inputs.shape[2], inputs.shape[3]), fit))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the module's outputs, such as probabilities, shape (B, ...)."""
        for transform in self.transforms:
            inputs = transform(inputs)
        return self.module.outputs(inputs)


def export_checkpoint(options: dict[str, str]) -> int:
    """Write the file that is asked for, run it in a fresh process, and compare; return 0 if the outputs agree."""
    checkpoint, kind = options["ckpt_path"], options.get("format", "onnx")
    if kind == "onnx" and (lacking := [name for name in ONNX_PACKAGES if find_spec(name) is None]):
        raise UsageError(f"--format onnx needs {lacking[0]}; write pip install -e '.[onnx]'")
    record = run_of_checkpoint(checkpoint).read()
    with mistakes_in_one_line():
        model: Any = load_model(checkpoint)
    if not hasattr(model, "outputs"):
        raise UsageError(f"{type(model).__name__} has no method outputs(inputs) that returns one tensor: it stays here")
    data = model.predict.data
    inputs, what, split = _samples(data)
    exported = Exported(model, data, inputs).eval()
    torch.set_num_threads(threads_for(exported, inputs))
    path = Path(options.get("output", Path(checkpoint).with_suffix(f".{kind}")))
    path.parent.mkdir(parents=True, exist_ok=True)
    described = _metadata(exported, data, record, inputs) | {"metrics": _metrics_of(Path(checkpoint), record)}
    write(exported, inputs[:2], path, kind, described)
    difference = compare(exported, inputs, path, kind)
    megabytes = path.stat().st_size / 1e6
    print(f"{path}: {megabytes:,.2f} MB, greatest difference {difference:.1e} over {len(inputs)} {what}")
    if not difference <= TOLERANCE:
        path.unlink()
        raise RunFailure(f"{path} was removed: its outputs differ by more than {TOLERANCE:g} from the module's")
    run = _loaded(path, kind)
    if isinstance(split, ImageFiles) and exported.any_size:
        _compare_files(model, run, split)
    if options.get("latency", "true") == "true":
        _show_latency(exported, inputs, run, "onnxruntime" if kind == "onnx" else kind)
    return 0


def _samples(data: Any) -> tuple[Tensor, str, Any]:
    """Return inputs before the transforms, what they are, and their split: validation; random ones and None without."""
    try:
        splits = data.divide(data.load_splits())  # nothing is decoded beforehand
        what, split = ("validation", splits["val"]) if "val" in splits else ("training", splits["train"])
        found = [split[index] for index in range(min(SAMPLES, len(split)))]
        inputs = data.join([item[0] if isinstance(item, tuple) else item for item in found])
        what = f"{what} samples"
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        inputs, what, split = _made_up(data), "random inputs, since the data is not here", None
    if not isinstance(inputs, Tensor):
        kind = "inputs of different size" if isinstance(inputs, list) else "more than one tensor as inputs"
        raise UsageError(f"the network takes {kind}, and an exported file takes one tensor: it stays here")
    return inputs.as_subclass(Tensor), what, split


def _made_up(data: Any) -> Any:
    """Return random inputs of the type and shape of those that were trained on."""
    shape = data.input_shape or [getattr(data.form, "num_channels", 3), *[getattr(data.form, "size", 224)] * 2]
    dtype = getattr(torch, data.input_dtype or ("uint8" if len(shape) == 3 else "float32"), torch.float32)
    numbers = torch.rand((SAMPLES, *(size or 8 for size in shape)), generator=torch.Generator().manual_seed(0))
    return (numbers * {torch.uint8: 256, torch.int64: 2}.get(dtype, 1)).to(dtype)


def _metrics_of(checkpoint: Path, record: dict[str, Any]) -> dict[str, float]:
    """Return a checkpoint's metrics: of its own validation, and of each evaluation since then in its run's run.json."""
    metrics, written = read_metrics(checkpoint), checkpoint.stat().st_mtime
    for entry in record.get("evaluations", []):
        ended = datetime.fromisoformat(entry["end"]).timestamp()
        if Path(entry["checkpoint"]).name == checkpoint.name and ended > written and entry["exit_status"] == 0:
            metrics |= entry["metrics"]
    return metrics


def _metadata(exported: Exported, data: Any, record: dict[str, Any], inputs: Tensor) -> dict[str, Any]:
    """Return what somebody needs to know who has the file alone."""
    model, shape = exported.module, inputs.shape[1:]
    wanted: dict[str, Any] = {"dtype": str(inputs.dtype).removeprefix("torch."), "shape": ["batch", *shape]}
    if exported.any_length:
        wanted["shape"][1] = "length"
    if exported.any_size:
        wanted["shape"][2:] = ["height", "width"]
        size = f"any size; the file makes them {shape[1]} x {shape[2]}"
        wanted["preprocessing"] = f"{'RGB' if shape[0] == 3 else 'grey'}, values 0 to 255, {size}"
    return {
        "inputs": wanted,
        "outputs": (type(model).outputs.__doc__ or "").partition("\n")[0],
        "class_names": model.class_names,
        "threshold": model.threshold if hasattr(type(model), "threshold") else None,
        "columns": data.columns,
        "commit": (record.get("git") or {}).get("commit"),
        "versions": {name: version(name) for name in ("torch", "torchvision")},
    }


def write(exported: Exported, inputs: Tensor, path: Path, kind: str, described: dict[str, Any]) -> None:
    """Write the network for any number of inputs at a time, with its description."""
    num_bytes = sum(value.nbytes for value in exported.state_dict().values())
    if kind == "onnx" and num_bytes > ONNX_BYTES:
        wide = f"{num_bytes / 1e9:.2f} GB of weights, and an .onnx file holds at most {ONNX_BYTES / 1e9:.2f}"
        raise RunFailure(f"{type(exported.module).__name__} has {wide}; write --format pt2")
    names = {0: "batch"} | ({1: "length"} if exported.any_length else {})
    if exported.any_size:  # the size of the samples may be that of the network, which would be taken for the only one
        names |= {2: "height", 3: "width"}
        inputs = inputs.new_zeros(2, inputs.shape[1], inputs.shape[2] + 5, inputs.shape[3] + 2)
    shapes = ({dimension: torch.export.Dim(name) for dimension, name in names.items()},)
    try:
        with torch.no_grad():
            program = torch.export.export(exported, (inputs,), dynamic_shapes=shapes, strict=False)
    except Exception as error:  # whatever a network does that cannot be traced
        raise RunFailure(f"{type(exported.module).__name__} cannot be exported: {first_line(error)}") from error
    if kind == "pt2":
        torch.export.save(program, path, extra_files={"metadata.json": json.dumps(described)})
        return
    import onnx

    result: Any = torch.onnx.export(program, input_names=["inputs"], output_names=["outputs"], verbose=False)
    content = result.model_proto
    onnx.helper.set_model_props(content, {key: json.dumps(value) for key, value in described.items()})
    onnx.save(content, path)


def compare(exported: Exported, inputs: Tensor, path: Path, kind: str) -> float:
    """Return the greatest difference of the file's outputs in a fresh process to the module's, for many and for one."""
    greatest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "inputs.npy"), Path(folder, "outputs.npy")
        command = [sys.executable, "-I", "-c", SCRIPT.format(RUN[kind]), str(path.absolute()), str(given), str(found)]
        for batch in (inputs, inputs[:1]):
            np.save(given, batch.numpy())
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode:
                reason = done.stderr.strip().rpartition("\n")[2][:300] or f"exit code {done.returncode}"
                raise RunFailure(f"{path} cannot be run: {reason}")
            with torch.inference_mode():
                expected = exported(batch)
            greatest = max(greatest, float((torch.from_numpy(np.load(found)) - expected).abs().max()))
    return greatest


def _loaded(path: Path, kind: str) -> Callable[[Tensor], Any]:
    """Return the function that the file holds."""
    if kind == "pt2":
        return torch.export.load(path).module()
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"inputs": batch.numpy()})[0]


def _compare_files(model: Any, run: Callable[[Tensor], Any], images: ImageFiles) -> None:
    """Print how far the file's outputs for whole images, decoded in full size, are from those of `predict`."""
    differences, data = [], model.predict.data
    with torch.inference_mode():
        for item in np.unique(np.linspace(0, len(images) - 1, FILES).astype(int)).tolist():  # of all classes
            found = torch.as_tensor(run(decode_image(images.path(item), data.form.num_channels)[0][None]))
            expected = model.outputs(data.batch_of([images.path(item)], "cpu"))
            differences.append(float((found - expected).abs().max()))
    typical = f"{statistics.median(differences):.1e} in the median, at most {max(differences):.1e}"
    print(f"difference to predict over {len(differences)} files of the data, decoded in full size: {typical}")


def _show_latency(exported: Exported, inputs: Tensor, run: Callable[[Tensor], Any], name: str) -> None:
    """Print the median time of a batch in milliseconds, for the module and for the file."""
    advice = "--latency false leaves it out"
    print(f"measuring how long a batch takes, some minutes for a large network; {advice}", flush=True)
    runs: dict[str, Callable[[Tensor], Any]] = {"eager": exported, name: run}
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns of a missing GPU
    try:
        compiled = torch.compile(exported)
        with torch.inference_mode():
            compiled(inputs[:1])
        runs["compiled"] = compiled
    except Exception:  # no compiler, or a network that it does not take
        print("compiled: not measured, since it cannot be compiled here")
    print("\nmilliseconds on the CPU" + "".join(f"{f'batch {size}':>12}" for size in SIZES))
    times: dict[tuple[str, int], list[float]] = {(name, size): [] for name in runs for size in SIZES}
    for name, size in [*times] * ROUNDS:  # in turn, so that a busy moment slows all of them
        batch = inputs[torch.arange(size) % len(inputs)]
        with torch.inference_mode():
            start = time.perf_counter()
            runs[name](batch)
        times[name, size].append(1000 * (time.perf_counter() - start))
    for name in runs:
        print(f"{name:<23}" + "".join(f"{statistics.median(times[name, size]):>12.2f}" for size in SIZES))
