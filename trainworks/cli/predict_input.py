"""What the options of predict ask for: inputs from outside the data, and the table of their results."""

import fileinput
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from trainworks.callbacks.result_writer import ResultWriter
from trainworks.cli.builder import Session
from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.datasets.decode import UnreadableImage
from trainworks.datamodules.datasets.file_index import PackedNames, pack_names
from trainworks.datamodules.new_inputs import NewInputsDataModule
from trainworks.errors import UsageError, no_such_file
from trainworks.models.predict import load_model
from trainworks.models.tiles import predict_tiles
from trainworks.runs.plain_data import read_plain


def set_up_writer(session: Session) -> ResultWriter:
    """Return what writes the table of results, as the options of predict say."""
    options, callbacks = session.request.line.options, session.trainer.callbacks  # type: ignore[attr-defined]
    if options.get("flip") == "true":
        session.model.net.register_forward_hook(_mean_with_mirrored)  # type: ignore[union-attr]
    writer = next((item for item in callbacks if isinstance(item, ResultWriter)), None)
    if writer is None:  # it was switched off
        writer = ResultWriter(str(session.run.directory))
        callbacks.append(writer)
    writer.output = Path(options.get("output", writer.output))
    writer.top_k = session.request.line.numbers.get("top_k", writer.top_k)
    for name in {"probabilities", "draw"} & options.keys():
        setattr(writer, name, options[name] == "true")
    return writer


def input_data(session: Session, writer: ResultWriter) -> NewInputsDataModule:
    """Return the datamodule of the inputs that `--input` names, but for those whose results were written before."""
    options, trainer, data = session.request.line.options, session.trainer, session.datamodule
    if not isinstance(data, BaseDataModule):
        raise UsageError(f"--input needs data that derives from BaseDataModule, got {type(data).__name__}")
    if options["input"] == "-" and trainer.world_size > 1:
        raise UsageError("--input - is read by one process; write a file for several, or --trainer.devices 1")
    checkpoint = Path(str(session.request.ckpt_path))
    data.load_input_state(read_plain(checkpoint))
    sources = sources_of(options["input"], data)
    if not len(sources):
        raise UsageError(f"--input {options['input']}: nothing in it")
    written = checkpoint.stat().st_mtime_ns  # another one may stand there by now
    command = session.configuration.text, written, trainer.world_size, sorted(options.items())
    digest = hashlib.sha256(repr(command).encode())
    if isinstance(sources, PackedNames):
        digest.update(sources.packed.numpy())  # type: ignore[arg-type]
    else:
        status = Path(options["input"]).stat()
        digest.update(repr((status.st_size, status.st_mtime_ns)).encode())
    table = writer.open_predictions(trainer, data)
    table.resume(digest.hexdigest(), len(sources), max(data.batch_size // trainer.world_size, 1))
    rest = sources[table.num_done :]
    return NewInputsDataModule(reader=data, inputs=rest, batch_size=data.batch_size, num_workers=data.num_workers)


def predict_in_tiles(session: Session) -> None:
    """Predict on what `--input` names, one image after the other, tile by tile."""
    options, numbers = session.request.line.options, session.request.line.numbers
    if not {"tile", "input"} <= options.keys() or options.get("draw") == "true" or session.trainer.world_size > 1:
        how = "write --tile 512 --input DIR, --overlap 64 beside them, no --draw, and --trainer.devices 1"
        raise UsageError(f"tiles are for new images and one device; {how}")
    session.model = module = load_model(str(session.request.ckpt_path), session.trainer.strategy.root_device)
    writer = set_up_writer(session)
    inputs = input_data(session, writer)
    table: Any = writer.tables["predict"]
    for number, source in enumerate(inputs.inputs, table.num_done):
        row: dict[str, Any] = {"input": source if isinstance(source, str) else number}
        try:
            rows = inputs.reader.rows(source)
            parts = predict_tiles(module, inputs.reader, rows, numbers["tile"], numbers.get("overlap", 64))
            row |= table.save_parts(f"{number:06}-{Path(str(row['input'])).stem[:50]}.png", parts, rows.size)
            row["error"] = ""
        except UnreadableImage as error:
            row["error"] = str(error)
        except UsageError:
            table.remove_parts()
            raise
        table.append({number: row})
    table.join()
    table.remove_parts()


def sources_of(given: str, data: Any) -> Sequence[Any]:
    """Return the inputs of a list in a .txt file, a table or standard input, or what the data finds in a path."""
    path = Path(given)
    if given != "-" and not path.exists():
        raise UsageError(f"--input {given}: {no_such_file(path)}")
    if given == "-" or path.suffix.lower() == ".txt":
        with fileinput.input(given, encoding="utf-8") as file:  # which takes - for standard input
            return PackedNames(pack_names(line.rstrip("\n") for line in file if line.strip()))
    if path.suffix.lower() in (".csv", ".tsv") and not data.columns and len(data.input_shape or ()) != 1:
        from trainworks.datamodules.datasets.tables import read_csv

        tables = read_csv(given, ["path"], optional=())
        return PackedNames(pack_names(name for _, chunk in tables for name in chunk["path"]))
    return data.sources(given)


def _mean_with_mirrored(net: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> Any:
    """Return the mean of a network's outputs for images and their mirror images; those for pixels are mirrored back."""
    if not isinstance(inputs[0], Tensor) or inputs[0].ndim != 4:
        raise UsageError("--flip true needs images of one size and a network that takes them as one batch")
    mirrored = net.forward(inputs[0].flip(-1))
    if isinstance(outputs, dict):
        outputs, mirrored = outputs["out"], mirrored["out"]
    return (outputs + (mirrored.flip(-1) if mirrored.ndim == 4 else mirrored)) / 2
