import io
import os
import pickle
from collections import OrderedDict
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.utils._pytree import tree_leaves

from trainworks.errors import RunFailure
from trainworks.runs.files import is_sharded, replace

MODULE, DATA = "module", "data"  # where a checkpoint holds class_path and init_args of its module and its data


class DurableCheckpointIO(TorchCheckpointIO):
    """Write checkpoints so that the file under their name is always whole, whenever the process or the machine stops.

    A file is written beside its target, flushed to the disk and renamed. Lightning's own way goes through $TMPDIR and
    can destroy the file it replaces (Lightning issues 19970 and 21253).

    Args:
        background_mb: A checkpoint of at least so many MB is copied on the CPU and written while the training goes on,
            up to two at a time; null for never. Reading, the next save but one and the end of a training wait for it.

    Raises:
        RunFailure: If the disk is full; the old file stays as it was.
    """

    def __init__(self, background_mb: float | None = 32.0) -> None:
        super().__init__()
        self.background_mb = background_mb
        self._writes: list[Future[None]] = []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Replace the file at `path` by the checkpoint in one step."""
        check_plain(checkpoint)
        target = Path(os.path.realpath(path))
        num_bytes = sum(leaf.nbytes for leaf in tree_leaves(checkpoint) if isinstance(leaf, torch.Tensor))
        if self.background_mb is None or num_bytes < 1e6 * self.background_mb:
            self.wait()
            write(checkpoint, target)
        else:
            from trainworks.runs.background import begin

            self.wait(but=1)
            self._writes.append(begin(checkpoint, target))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint, also one that is still being written."""
        self.wait()
        super().remove_checkpoint(path)

    def wait(self, but: int = 0) -> None:
        """Wait until all is written, or all but so many."""
        while len(self._writes) > but:
            self._writes.pop(0).result()

    teardown = wait

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, tensors and plain data only, onto the CPU."""
        self.wait()
        return read_checkpoint(path, map_location or "cpu")


def write(checkpoint: dict[str, Any], target: Path) -> None:
    """Replace a file by a checkpoint in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError | RuntimeError):  # torch's zip writer turns one into the other
            from trainworks.runs.unsaved import explain

            raise RunFailure(explain(error, checkpoint, target)) from error
        raise


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint, whole or sharded, tensors and plain data only."""
    if is_sharded(Path(path)):
        from trainworks.runs.sharded import merged  # few runs need it

        return merged(Path(path))
    return torch.load(path, map_location=map_location, weights_only=True)


def check_plain(content: dict[str, Any]) -> None:
    """Raise a RunFailure if a checkpoint holds more than tensors and plain data, such as a NumPy array."""
    if unsafe(content) is not None:
        from trainworks.runs.unsaved import name_unsafe

        raise RunFailure(name_unsafe(content)) from None


def unsafe(content: Any) -> Exception | None:
    """Return what reading back would raise, None if nothing; only what is not plain at first sight is tried out."""
    if not (odd := _odd(content)):
        return None
    buffer = io.BytesIO()
    try:
        torch.save(odd, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)
    except (pickle.UnpicklingError, pickle.PicklingError, AttributeError, TypeError) as error:
        return error
    return None


def _odd(node: Any) -> list[Any]:
    """Return what is neither a tensor nor plain data."""
    if type(node) in (dict, OrderedDict):
        return _odd([*node.keys(), *node.values()])
    if type(node) in (list, tuple):
        return [odd for item in node for odd in _odd(item)]
    return [] if isinstance(node, torch.Tensor) or type(node) in (str, int, float, bool, type(None)) else [node]
