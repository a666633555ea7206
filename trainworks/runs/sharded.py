"""Sharded checkpoints: folders to which each process writes its shards of the weights and of the optimizer state.

Tensors go through torch.distributed.checkpoint. All else is plain data in one file beside them, so that reading a
folder never runs code. The list of checksums is written last.
"""

import json
import os
import pickle
import warnings
import zlib
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from trainworks.errors import UsageError
from trainworks.runs.files import INDEX_FILE, sync_folder
from trainworks.runs.plain_data import PLAIN_FILE, read_plain, save_plain, to_plain

CHECKSUM_FILE = "checksums.json"
CHUNK_SIZE = 1 << 24  # bytes
ALLOWED_NAMES = {  # by module, all that an index of tensors names besides dtypes
    "torch": {"Size"},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.metadata": {
        "Metadata", "TensorStorageMetadata", "TensorProperties", "_MEM_FORMAT_ENCODING", "ChunkStorageMetadata",
        "MetadataIndex", "StorageMeta",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "pathlib": {"PosixPath", "WindowsPath"},
}  # fmt: skip


def write_shards(folder: Path, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Write a new folder together with all other processes, and flush it to the disk.

    `tensors` by name are whole, or sharded over the processes (DTensor). All that is whole is taken from rank 0.
    """
    rank, plain = dist.get_rank(), to_plain(plain)
    planner = DefaultSavePlanner(dedup_save_to_lowest_rank=True)  # running means and the like are those of rank 0
    state_dict_saver.save(dict(tensors), checkpoint_id=folder, planner=planner)
    if rank == 0:
        with (folder / PLAIN_FILE).open("w+b") as file:
            save_plain(plain, file)
    files = [*folder.glob(f"__{rank}_*"), *((folder / INDEX_FILE, folder / PLAIN_FILE) if rank == 0 else ())]
    checksums: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(checksums, {path.name: _checksum(path, flush=True) for path in files})
    if rank == 0:
        by_name = {name: checksum for of_rank in checksums for name, checksum in of_rank.items()}
        (folder / CHECKSUM_FILE).write_text(json.dumps(by_name))
        _checksum(folder / CHECKSUM_FILE, flush=True)
        sync_folder(folder)


def read_shards(folder: Path, tensors: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Read tensors by name, whatever the world size was when they were written and whatever it is now.

    They are read into `tensors`, of which a sharded one gets its shard. Without `tensors`, all are read, whole, onto
    the CPU.
    """
    reader, alone = _Reader(folder), tensors is None
    if tensors is None:
        items = reader.read_metadata().state_dict_metadata.items()
        found = {name: item for name, item in items if isinstance(item, TensorStorageMetadata)}
        tensors = {name: torch.empty(item.size, dtype=item.properties.dtype) for name, item in found.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # on purpose
        state_dict_loader.load(tensors, storage_reader=reader, planner=_Planner(), no_dist=alone)
    return tensors


def merge_shards(folder: Path) -> dict[str, Any]:
    """Return a sharded checkpoint as training without shards would have written it."""
    checkpoint, tensors = read_plain(folder), read_shards(folder)
    checkpoint["state_dict"] = {
        name.removeprefix("weights/"): item for name, item in tensors.items() if name.startswith("weights/")
    }
    for number, optimizer in enumerate(checkpoint["optimizer_states"]):
        names = [name for group in optimizer["param_groups"] for name in group["params"]]
        index_of = {name: index for index, name in enumerate(names)}
        for group in optimizer["param_groups"]:
            group["params"] = [index_of[name] for name in group["params"]]
        state: dict[int, Any] = {index_of[name]: values for name, values in optimizer.pop("values").items()}
        for path, tensor in tensors.items():
            if path.startswith(f"optimizer{number}/"):
                _, key, name = path.split("/", 2)
                state.setdefault(index_of[name], {})[key] = tensor
        optimizer["state"] = state
    return checkpoint


def check_shards(folder: Path) -> None:
    """Read a folder whole; raise a UsageError where a file is missing or is not what was written."""
    try:
        checksums: dict[str, list[int]] = json.loads((folder / CHECKSUM_FILE).read_text())
    except (OSError, ValueError):
        raise UsageError(f"{folder}: not complete: no {CHECKSUM_FILE}, which is written last") from None
    for name, expected in checksums.items():
        path = folder / name
        if not path.is_file() or _checksum(path) != expected:
            raise UsageError(f"{folder}: damaged: {name} is {'not what was written' if path.is_file() else 'missing'}")


def _checksum(path: Path, flush: bool = False) -> list[int]:
    """Return size and CRC32 of a file, which is flushed to the disk before if `flush` is set."""
    value = 0
    with path.open("rb") as file:
        if flush:
            os.fsync(file.fileno())
        while chunk := file.read(CHUNK_SIZE):
            value = zlib.crc32(chunk, value)
    return [path.stat().st_size, value]


class _Unpickler(pickle.Unpickler):
    """Unpickle an index of tensors and refuse anything else."""

    def find_class(self, module: str, name: str) -> Any:
        module = "pathlib" if module == "pathlib._local" else module  # as Python 3.13 calls it
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if not is_dtype and name not in ALLOWED_NAMES.get(module, ()):
            raise UsageError(f"the index of this checkpoint names {module}.{name}, which could run code; none was run")
        return super().find_class(module, name)


class _Reader(FileSystemReader):
    """Read the index with `_Unpickler`; torch's own reader unpickles whatever it holds."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
        with (Path(self.path) / INDEX_FILE).open("rb") as file:
            metadata = _Unpickler(file).load()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _Planner(DefaultLoadPlanner):
    """Refuse what is no tensor; torch's own planner unpickles it."""

    def load_bytes(self, read_item: Any, value: Any) -> None:
        raise UsageError(f"{read_item.storage_index.fqn} is no tensor, and reading it could run code; none was run")
