"""Sharded checkpoints: a folder in which each process has written what it holds of weights and optimizer state.

Tensors go through torch.distributed.checkpoint; all else is plain data in one file beside them, so that reading a
folder never runs code. A list of checksums is written last.
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
from trainworks.runs.files import INDEX, sync_folder

PLAIN, SUMS = "plain.pt", "checksums.json"
CHUNK = 1 << 24  # bytes
SAFE = {  # all that an index of tensors names besides types of numbers
    "torch": {"Size"},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.metadata": {
        "Metadata", "TensorStorageMetadata", "TensorProperties", "_MEM_FORMAT_ENCODING", "ChunkStorageMetadata",
        "MetadataIndex", "StorageMeta",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "pathlib": {"PosixPath", "WindowsPath"},
}  # fmt: skip


def write_parts(folder: Path, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Write a new folder together with all other processes, and flush it to the disk.

    `tensors` by name are whole, or sharded over the processes (DTensor); of all else that of process 0 is written.
    """
    rank = dist.get_rank()
    lowest = DefaultSavePlanner(dedup_save_to_lowest_rank=True)  # running means and the like are those of process 0
    state_dict_saver.save(dict(tensors), checkpoint_id=folder, planner=lowest)
    if rank == 0:
        torch.save(plain, folder / PLAIN)
    own = [*folder.glob(f"__{rank}_*"), *((folder / INDEX, folder / PLAIN) if rank == 0 else ())]
    sums: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(sums, {path.name: _flushed(path) for path in own})
    if rank == 0:
        (folder / SUMS).write_text(json.dumps({name: item for part in sums for name, item in part.items()}))
        _flushed(folder / SUMS)
        sync_folder(folder)


def read_parts(folder: Path, tensors: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Read tensors by name, whoever wrote them and whatever number of processes reads.

    They go into `tensors`, of which sharded ones get their shard; without, everything is read, whole, onto the CPU.
    """
    reader = _Reader(folder)
    if tensors is None:
        items = reader.read_metadata().state_dict_metadata.items()
        found = {name: item for name, item in items if isinstance(item, TensorStorageMetadata)}
        tensors = {name: torch.empty(item.size, dtype=item.properties.dtype) for name, item in found.items()}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # as is meant
            state_dict_loader.load(tensors, storage_reader=reader, planner=_Planner(), no_dist=True)
    else:
        state_dict_loader.load(tensors, storage_reader=reader, planner=_Planner())
    return tensors


def read_plain(path: Path) -> dict[str, Any]:
    """Return what is no tensor; of a checkpoint in one file all, but tensors are read only when they are used."""
    file = path / PLAIN if path.is_dir() else path
    return torch.load(file, map_location="cpu", mmap=file is path, weights_only=True)


def merged(folder: Path) -> dict[str, Any]:
    """Return a sharded checkpoint as one, as training with whole weights writes it."""
    checkpoint, tensors = read_plain(folder), read_parts(folder)
    checkpoint["state_dict"] = {
        name.removeprefix("weights/"): item for name, item in tensors.items() if name.startswith("weights/")
    }
    for number, optimizer in enumerate(checkpoint["optimizer_states"]):
        names = [name for group in optimizer["param_groups"] for name in group["params"]]
        places = {name: place for place, name in enumerate(names)}
        for group in optimizer["param_groups"]:
            group["params"] = [places[name] for name in group["params"]]
        values: dict[int, Any] = {places[name]: items for name, items in optimizer.pop("values").items()}
        for path, tensor in tensors.items():
            if path.startswith(f"optimizer{number}/"):
                _, key, name = path.split("/", 2)
                values.setdefault(places[name], {})[key] = tensor
        optimizer["state"] = values
    return checkpoint


def check_parts(folder: Path) -> None:
    """Read a folder whole; a file that is missing, or not what was written, is a UsageError."""
    try:
        sums: dict[str, list[int]] = json.loads((folder / SUMS).read_text())
    except (OSError, ValueError):
        raise UsageError(f"{folder}: not complete: no {SUMS}, which is written last") from None
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file() or _sum(path) != expected:
            raise UsageError(f"{folder}: damaged: {name} is {'not what was written' if path.is_file() else 'missing'}")


def _flushed(path: Path) -> list[int]:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return _sum(path)


def _sum(path: Path) -> list[int]:
    """Return size and CRC32 of a file."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            value = zlib.crc32(chunk, value)
    return [path.stat().st_size, value]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = "pathlib" if module == "pathlib._local" else module  # as Python 3.13 calls it
        number_type = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if not number_type and name not in SAFE.get(module, ()):
            raise UsageError(f"the index of this checkpoint names {module}.{name}, which could run code; none was run")
        return super().find_class(module, name)


class _Reader(FileSystemReader):
    """Torch's own unpickles whatever the index holds."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
        with (Path(self.path) / INDEX).open("rb") as file:
            metadata = _Unpickler(file).load()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _Planner(DefaultLoadPlanner):
    """Torch's own unpickles what is no tensor."""

    def load_bytes(self, read_item: Any, value: Any) -> None:
        raise UsageError(f"{read_item.storage_index.fqn} is no tensor, and reading it could run code; none was run")
