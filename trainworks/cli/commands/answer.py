"""python train.py predict --input X: predict on files from outside the data, and write a row for each of them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from trainworks.callbacks.prediction_writer import PredictionWriter
from trainworks.callbacks.result_writer import ResultWriter
from trainworks.cli.builder import CLI
from trainworks.datamodules.datasets.file_index import find_images
from trainworks.datamodules.datasets.outside import serve_outside
from trainworks.datamodules.datasets.packed_names import pack_names, unpack_name
from trainworks.errors import UsageError, no_such_file
from trainworks.models.predict import answers_of, know_inputs
from trainworks.runs.sharded import read_plain


class Names(Sequence[str]):
    """Names as one array of bytes, shape (N, longest): a million of them are no Python objects."""

    def __init__(self, packed: Tensor) -> None:
        self.packed = packed

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, index: Any) -> Any:
        return Names(self.packed[index]) if isinstance(index, slice) else unpack_name(self.packed[index])


def serve_input(cli: CLI) -> None:
    """Let `predict` answer for what `--input` names instead of a part of the data, and write it to `--output`."""
    options, module, data = cli.request.line.options, cli.model, cli.datamodule
    if not hasattr(data, "batch_of"):
        raise UsageError(f"--input needs data that derives from BaseDataModule, got {type(data).__name__}")
    if options["input"] == "-" and cli.trainer.world_size > 1:
        raise UsageError("--input - is read by one process; write a file for several, or --trainer.devices 1")
    know_inputs(data, read_plain(Path(str(cli.request.ckpt_path))))
    sources = sources_of(options["input"], data)
    if not len(sources):
        raise UsageError(f"--input {options['input']}: nothing in it")
    path = Path(options.get("output", cli.run.directory / "predictions.csv"))
    switches = {name: options.get(name) == "true" for name in ("probabilities", "draw")}
    writer = ResultWriter(path, sources, cli.request.line.numbers.get("top_k", 1), **switches)
    written = Path(str(cli.request.ckpt_path)).stat().st_mtime_ns  # another checkpoint may stand there by now
    key = [cli.config_text, f"{written} {cli.trainer.world_size}", *(f"{k}={v}" for k, v in sorted(options.items()))]
    serve_outside(data, sources[writer.begin(key, data.batch_size, cli.trainer) :])
    module.class_names = getattr(data, "class_names", None)
    module.predict_step = lambda batch, batch_idx: answers_of(module, batch) if len(batch) else []
    if options.get("flip") == "true":
        module.net.register_forward_hook(_mean_with_mirrored)
    kept = [item for item in cli.trainer.callbacks if not isinstance(item, PredictionWriter)]  # type: ignore[attr-defined]
    cli.trainer.callbacks = [*kept, writer]  # type: ignore[attr-defined]


def sources_of(given: str, data: Any) -> Sequence[Any]:
    """Return what there is to predict on: of a folder, a list in a .txt file, a table, standard input, or one file."""
    path = Path(given)
    if given == "-":
        return Names(pack_names(line for line in sys.stdin.read().splitlines() if line.strip()))
    if path.is_dir():
        return Names(pack_names(str(path / name) for name in find_images(given)))
    if not path.is_file():
        raise UsageError(f"--input {given}: {no_such_file(path)}")
    if path.suffix.lower() == ".txt":
        with path.open(encoding="utf-8") as file:
            return Names(pack_names(line.rstrip("\n") for line in file if line.strip()))
    if path.suffix.lower() in (".csv", ".tsv") and not data.columns and len(data.input_shape or ()) != 1:
        from trainworks.datamodules.datasets.tables import read_csv

        return Names(pack_names(name for chunk in read_csv(given, ["path"]) for name in chunk["path"]))
    return data.sources(given)


def _mean_with_mirrored(net: nn.Module, inputs: tuple[Any, ...], one: Any) -> Any:
    """Return the mean of a network's outputs for images and their mirror images; those for pixels are mirrored back."""
    if not isinstance(inputs[0], Tensor) or inputs[0].ndim != 4:
        raise UsageError("--flip true needs images of one size and a network that takes them as one batch")
    other = net.forward(inputs[0].flip(-1))
    if isinstance(one, dict):
        one, other = one["out"], other["out"]
    return (one + (other.flip(-1) if other.ndim == 4 else other)) / 2
