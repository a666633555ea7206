import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.utils._pytree import tree_leaves

from trainworks.errors import RunFailure, UsageError
from trainworks.runs.files import is_sharded, replace
from trainworks.runs.plain_data import read_plain, save_plain, to_plain

METRICS = "metrics"  # key of a checkpoint: what the validation of its weights logged, by name
WRITER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")


class DurableCheckpointIO(TorchCheckpointIO):
    """Write checkpoints so that the file under their name is always whole, whenever the process or the machine stops.

    A file is written beside its target, flushed to the disk and renamed. Lightning's own way goes through $TMPDIR and
    can destroy the file it replaces (Lightning issues 19970 and 21253).

    Args:
        background_mb: A checkpoint of at least so many MB is copied to the CPU's memory and written while the training
            goes on; null for never. At most two checkpoints wait to be written. Reading a checkpoint, removing one and
            the end of a training wait until all are written.

    Raises:
        RunFailure: If the disk is full; the old file stays as it was.
    """

    def __init__(self, background_mb: float | None = 32.0) -> None:
        super().__init__()
        self.background_mb = background_mb
        self._pending: list[Future[None]] = []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Replace the file at `path` by the checkpoint in one step."""
        checkpoint, target = to_plain(checkpoint), Path(os.path.realpath(path))
        if self.background_mb is None or _megabytes(checkpoint) < self.background_mb:
            self.wait()
            write_checkpoint(checkpoint, target)
        else:
            self.wait(max_pending=1)
            self._pending.append(WRITER.submit(write_checkpoint, _copied_to_cpu(checkpoint), target))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint, also one that is still being written."""
        self.wait()
        super().remove_checkpoint(path)

    def wait(self, max_pending: int = 0) -> None:
        """Wait until at most `max_pending` checkpoints are still to be written; raise what prevented one."""
        while len(self._pending) > max_pending:
            self._pending.pop(0).result()

    teardown = wait

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint onto the CPU: tensors and plain data, unless it is trusted."""
        self.wait()
        return read_checkpoint(path, map_location or "cpu")


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint, in one file or sharded: tensors and plain data, unless it is trusted."""
    if is_sharded(Path(path)):
        from trainworks.runs.sharded import merge_shards  # few runs need it

        return merge_shards(Path(path))
    if Path(path).is_dir():
        raise UsageError(f"{path}: a folder, and no checkpoint; write a file such as RUN/checkpoints/best.ckpt")
    return read_plain(Path(path), map_location, mmap=False)


def read_metrics(path: Path) -> dict[str, float]:
    """Return what the validation of a checkpoint's weights logged; its tensors are not read."""
    return dict(read_plain(path).get(METRICS, {}))


def write_checkpoint(checkpoint: dict[str, Any], target: Path) -> None:
    """Replace a file by a checkpoint in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.tmp")
    try:
        with temporary.open("w+b") as file:
            save_plain(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError | RuntimeError):  # torch's zip writer turns an OSError into a RuntimeError
            raise RunFailure(_explain(error, checkpoint, target)) from error
        raise


def _copied_to_cpu(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Copy a checkpoint to the CPU's memory, so that the training may change its own tensors meanwhile."""
    copies: dict[Any, Tensor] = {}  # tensors that share memory, such as tied weights, share it in the file too

    def copy_of(tensor: Tensor) -> Tensor:
        if tensor.layout is not torch.strided:
            return tensor.detach().clone()
        key = tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device
        if key not in copies:  # without blocking, CUDA copies to pinned memory, which is ten times as fast
            copies[key] = tensor.detach().to("cpu", non_blocking=tensor.is_cuda, copy=True)
        return copies[key]

    content: dict[str, Any] = apply_to_collection(checkpoint, Tensor, copy_of)
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # the copies are complete only then
    return content


def _megabytes(checkpoint: dict[str, Any]) -> float:
    return sum(leaf.nbytes for leaf in tree_leaves(checkpoint) if isinstance(leaf, Tensor)) / 1e6


def _explain(error: Exception, checkpoint: dict[str, Any], target: Path) -> str:
    """Say why a checkpoint could not be written: most likely the disk is full."""
    needed, free = _megabytes(checkpoint), shutil.disk_usage(target.parent).free / 1e6
    reason = f" ({error})" if free > needed else ""  # else the disk is full, whatever the zip writer says
    kept = "; the one before it is still there" if target.exists() else ""
    return (
        f"the checkpoint {target} could not be written: it needs about {needed:,.1f} MB, {free:,.1f} MB are free"
        f"{reason}{kept}. Make room, then continue with --resume"
    )
