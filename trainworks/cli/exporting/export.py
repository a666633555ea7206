"""A trained module as a file that answers without this repository, in one format or in all."""

import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden

from trainworks.cli.exporting.compare import (
    ValidationMetrics,
    box_gaps,
    detections_of,
    difference,
    greatest_difference,
    loaded,
)
from trainworks.cli.exporting.exported import MIN_OPSET, Exported, as_onnx, named_outputs, traced, write
from trainworks.cli.exporting.latency import latencies
from trainworks.cli.exporting.metadata import metadata
from trainworks.cli.exporting.samples import Samples, joined_inputs, samples_for
from trainworks.cli.exporting.table import table_text, write_table
from trainworks.cli.parser import mistakes_in_one_line
from trainworks.cli.process import settled_process
from trainworks.datamodules.datasets.decode import decode_image
from trainworks.datamodules.datasets.image_dataset import ImageFiles
from trainworks.errors import RunFailure, UsageError
from trainworks.models.predict import load_model
from trainworks.runs.find import run_of_checkpoint
from trainworks.runtime.threads import threads_for

ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")  # which are optional
MAX_INT8_OPSET = 20  # of what onnxruntime quantizes
TOLERANCE, PIXELS = 1e-4, 0.5  # greatest differences of outputs and of boxes
NUM_FILES = 32
NO_BOX = ", since there is no box,"
ALL = (("onnx", "float32"), ("onnx", "float16"), ("onnx", "int8"), ("pt2", "float32"))


@settled_process()
def export_checkpoint(options: dict[str, str]) -> int:
    """Write what is asked for, run each file in a fresh process, compare, and keep those that agree with the module."""
    kind, precision = options.get("format", "onnx"), options.get("precision", "float32")
    _check(options, kind, precision)
    record = run_of_checkpoint(options["ckpt_path"]).read()
    with mistakes_in_one_line():
        model: Any = load_model(options["ckpt_path"])
    method = options.get("method", "outputs" if hasattr(model, "outputs") else "forward")
    if not callable(getattr(model, method, None)) or (method == "forward" and not is_overridden("forward", model)):
        raise UsageError(f"{type(model).__name__} has no method {method} that takes inputs and returns tensors")
    samples = samples_for(model, method, options.get("input_shape"))
    exported = Exported(model, samples.data, samples.inputs, method).eval()
    torch.set_num_threads(threads_for(exported, samples.inputs))
    writer = _Writer(exported, samples, options, record)
    chosen: tuple[tuple[str, str], ...] = ALL if kind == "all" else ((kind, precision),)
    if kind == "all" or precision != "float32" or options.get("metrics") == "true" or "tolerance" in options:
        try:
            writer.measure(float(options["tolerance"]) if "tolerance" in options else None)
        except UsageError as error:
            if kind != "all":
                raise
            print(f"no metrics, and so neither float16 nor int8: {error}")
            chosen = tuple(pair for pair in ALL if pair[1] == "float32")
    code = 0
    for pair in chosen:
        try:
            writer.add(*pair)
        except RunFailure as error:
            if kind != "all":
                raise
            code = max(code, int(pair[1] == "float32"))  # fewer bits may be refused
            print(error)
    rows = writer.rows
    if options.get("latency", "true") == "true":
        rows = latencies(exported, samples.inputs, rows, writer.runs)
    if len(rows) > 1:
        print(f"\n{table_text(rows)}")
    if kind == "all" and rows:
        write_table(rows, writer.path("csv", "export"))
    return code


def _check(options: Mapping[str, str], kind: str, precision: str) -> None:
    """Refuse what cannot be written, before anything is loaded."""
    if kind != "onnx" and precision != "float32":
        raise UsageError(f"--precision {precision} needs --format onnx, got {kind}")
    if kind != "pt2" and (lacking := [name for name in ONNX_PACKAGES if find_spec(name) is None]):
        raise UsageError(f"--format {kind} needs {lacking[0]}; write pip install -e '.[onnx]'")
    output = Path(options.get("output", f"a.{kind}"))
    if output.is_dir() or (kind != "all" and output.suffix in (".onnx", ".pt2") and output.suffix != f".{kind}"):
        raise UsageError(f"--output must be a file, such as a.{kind.replace('all', 'onnx')}, got {output}")
    if kind != "pt2" and "opset" in options:
        from onnx.defs import onnx_opset_version

        last = MAX_INT8_OPSET if precision == "int8" or kind == "all" else onnx_opset_version()
        if not MIN_OPSET <= int(options["opset"]) <= last:
            raise UsageError(f"--opset must be {MIN_OPSET} to {last} here, got {options['opset']}")


class _Writer:
    """Writes the files of one checkpoint, and keeps a row of figures of each."""

    def __init__(
        self, exported: Exported, samples: Samples, options: Mapping[str, str], record: dict[str, Any]
    ) -> None:
        self.exported, self.samples, self.options = exported, samples, options
        self.program, self.names = traced(exported, samples.inputs)
        self.described = metadata(exported, samples, record, options)
        self.measures: ValidationMetrics | None = None
        self.model: Any = None  # of ONNX, in float32
        self.rows: list[dict[str, Any]] = []
        self.runs: dict[str, Callable[[Any], Any]] = {}  # what each file computes, by its name
        with torch.inference_mode():
            self.example = exported(samples.inputs)
        self.unit = _unit(self.example)

    def measure(self, tolerance: float | None) -> None:
        """Compare the files by metrics, too, of which the module's come first."""
        self.measures = ValidationMetrics(self.exported, self.samples, tolerance)
        self.rows.append({"file": "module"} | self.measures.expected)
        share = f"{2 / self.measures.num_samples:.4g} for two of {self.measures.num_samples} validation samples"
        print(f"tolerance of metrics: {share}, or more as --tolerance says")

    def path(self, kind: str, precision: str) -> Path:
        """Return the file to write: beside the checkpoint by default."""
        path = Path(self.options.get("output", Path(self.options["ckpt_path"]).with_suffix(f".{kind}")))
        if self.options.get("format") != "all":
            return path
        return path.with_name(f"{path.stem}{'' if precision == 'float32' else f'_{precision}'}.{kind}")

    def add(self, kind: str, precision: str) -> None:
        """Write one file beside its place, compare it, and move it there if it agrees with the module."""
        path = self.path(kind, precision)
        try:
            left, row, run = self._write(path, kind, precision)
        except RunFailure as error:
            raise RunFailure(f"{path} is not written: {error}") from error
        self.rows.append({"file": path.name, "format": kind, "precision": precision} | row)
        self.runs[path.name] = run
        over = f"over {len(self.samples.inputs)} {self.samples.what}"
        print(f"{path}: {row['MB']:,.2f} MB, greatest difference {row['difference']:.1e}{self.unit} {over}")
        if left:
            print(f"in float32, since int8 cost more than the tolerance: {', '.join(left)}")
        split = self.samples.splits.get("val")
        if precision == "float32" and isinstance(split, ImageFiles) and self.exported.any_size:
            _compare_files(self.exported.module, run, split, self.exported.method, self.unit)

    def _write(self, path: Path, kind: str, precision: str) -> tuple[list[str], dict[str, Any], Any]:
        """Write one file; return the layers that stay in float32, its figures, and the function that it holds."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            folder = tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-")
        except OSError as error:
            raise RunFailure(f"its folder cannot be written to: {error.strerror}") from error
        with folder as name:
            written = Path(name, f"a.{kind}")
            content, left = self._content(kind, precision, written)
            described = self.described | {"precision": precision}
            write(content, written, described)
            row, run = self._checked(written, precision)
            if self.measures:
                metrics = {name: row[name] for name in self.measures.expected}
                write(content, written, described | {"float32_layers": left, "metrics_of_file": metrics})
            os.replace(written, path)
        return left, {"MB": path.stat().st_size / 1e6} | row, run

    def _content(self, kind: str, precision: str, path: Path) -> tuple[Any, list[str]]:
        """Return what is written, and the layers that stay in float32."""
        if kind == "pt2":
            return self.program, []
        if self.model is None:
            opset = int(self.options["opset"]) if "opset" in self.options else None
            self.model = as_onnx(self.exported, self.program, self.names, opset)
        if precision == "float32":
            return self.model, []
        from trainworks.cli.exporting.quantize import MAX_CALIBRATION, half, int8

        if self.unit == NO_BOX:
            raise RunFailure(f"the module finds no box in the {self.samples.what}, so nothing tells what it costs")
        if precision == "float16":
            return half(self.model), []
        train = self.samples.splits.get("train")
        if train is None:
            raise UsageError(f"--precision int8 needs training samples; there are only {self.samples.what}")
        chosen = np.random.default_rng(0).permutation(len(train))[:MAX_CALIBRATION].tolist()
        inputs = joined_inputs(self.samples.data, train, chosen).as_subclass(torch.Tensor)

        def accepts(model: Any) -> None:
            write(model, path, {})
            self._checked(path, precision)

        return int8(self.model, inputs, accepts)

    def _checked(self, path: Path, precision: str) -> tuple[dict[str, Any], Any]:
        """Return a file's figures, and the function that it holds; a RunFailure if it is not what the module is."""
        gap = greatest_difference(self.exported, self.samples.inputs, path)
        run = loaded(path, self.example)
        found = self.measures.of(run) if self.measures else {}
        if self.measures:
            self.measures.check(found, precision)
        limit = PIXELS if "boxes" in self.names else TOLERANCE
        if precision == "float32" and not gap <= limit:
            raise RunFailure(f"its outputs differ by more than {limit:g} from the module's, by {gap:.1e}")
        return {"difference": gap} | found, run


def _unit(outputs: Any) -> str:
    """Return what a difference of such outputs is measured in, as it stands behind a number."""
    if isinstance(outputs, Mapping) and "boxes" in outputs:
        return " pixels of a box" if outputs["count"].any() else NO_BOX
    parts = outputs.values() if isinstance(outputs, Mapping) else [outputs]
    return " of the greatest output" if any(part.abs().max() > 1 for part in parts) else ""


@torch.inference_mode()
def _compare_files(model: Any, run: Callable[[Any], Any], images: ImageFiles, method: str, unit: str) -> None:
    """Print how far the file's outputs for whole images, decoded in full size, are from those of `predict`."""
    gaps, data = [], model.predict.data
    for item in np.unique(np.linspace(0, len(images) - 1, NUM_FILES).astype(int)).tolist():  # of all classes
        path = images.path(item)
        found = run(decode_image(path, data.form.num_channels)[0][None])
        if isinstance(found, Mapping) and "boxes" in found:
            result, names = model.predict(path), model.class_names or []
            labels = [names.index(label) if label in names else int(label) for label in result.labels]
            expected = {"boxes": result.boxes, "labels": labels, "scores": result.scores}
            gaps += box_gaps(detections_of(found)[0], expected, model.threshold)
        else:
            parts = named_outputs(getattr(model, method)(data.batch_of([path], "cpu")))
            gaps.append(difference(found, parts if isinstance(found, Mapping) else parts["outputs"]))
    if not gaps:
        return
    typical = f"decoded in full size: {statistics.median(gaps):.1e} in the median, at most {max(gaps):.1e}{unit}"
    print(f"difference to predict over {min(NUM_FILES, len(images))} files of the data, {typical}")
