"""Checkpoints as plain data, so that reading one runs no code.

Arrays and numbers of NumPy, paths and deques are written as tensors, numbers, texts and lists, and come back as they
were: a checkpoint keeps which of its values these are. Other objects must be trusted.
"""

import contextlib
import copy
import io
import json
import pickle
import re
import zipfile
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import numpy as np
import torch
from lightning.fabric.utilities.data import AttributeDict
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from trainworks.errors import RunFailure, UsageError, listed
from trainworks.runs.class_paths import import_path
from trainworks.runs.trust import TRUSTED
from trainworks.runs.yaml_files import flatten

MODULE, DATA = "module", "data"  # keys of a checkpoint: class_path and init_args of its module and of its datamodule
TYPES = "python_types"  # key of a checkpoint: what some of its values were, by the keys that lead to them
HYPERPARAMETERS = ("hyper_parameters", "hparams_type", "datamodule_hyper_parameters", "datamodule_hparams_type")
PLAIN_FILE = "plain.pt"  # of a sharded checkpoint: all but the weights and the tensors of optimizers
CLASSES_FILE = "archive/class_paths.json"  # in each file, to be read before the rest
RESTORE: dict[str, Callable[..., Any]] = {
    "path": Path,
    "deque": deque,
    "number": lambda value, kind: np.dtype(kind).type(value),
    "array": lambda values, kind, shape: np.asarray(values).astype(kind).reshape(shape),
}


class UntrustedFile(UsageError):
    """A checkpoint holds objects that nobody has trusted."""


def to_plain(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint as plain data, without those hyperparameters that could not be read back.

    Raises:
        RunFailure: If anything else in it could not be.
    """
    types: dict[Any, Any] = {}
    content: dict[str, Any] = {}
    for key, value in checkpoint.items():
        if key in HYPERPARAMETERS and isinstance(value, dict):
            value = {name: item for name, item in value.items() if not _encode(item)[1]}
        plain, refused = _encode(value, (key,), types)
        if refused and key not in HYPERPARAMETERS:
            raise RunFailure(
                f"'{key}' in the checkpoint holds {refused}, which could not be read back safely; let "
                "on_save_checkpoint and state_dict return tensors, arrays, numbers, strings, lists and dictionaries, "
                "or type --trust true"
            )
        content |= {} if refused else {key: plain}
    return content | ({TYPES: types} if types else {})


def read_plain(path: Path, map_location: Any = "cpu", mmap: bool = True) -> dict[str, Any]:
    """Return a checkpoint in one file, whose tensors are read when used (`mmap`), or the plain data of a sharded one.

    Raises:
        UntrustedFile: If it holds objects, and is not trusted.
    """
    file, mmap = (path / PLAIN_FILE, False) if path.is_dir() else (path, mmap)
    try:
        content = torch.load(file, map_location=map_location, mmap=mmap, weights_only=not TRUSTED.get())
    except pickle.UnpicklingError as error:
        names: list[str] = []
        with contextlib.suppress(Exception):  # of any type, where the file is damaged
            names = sorted(get_unsafe_globals_in_checkpoint(file))
        if not names:
            raise
        held = f"{path} holds {listed(names, 3)}, which could run code; none was run. Where you trust the file"
        raise UntrustedFile(f"{held}, type --trust true, or load_model(path, trust=True) in Python") from error
    types = content.pop(TYPES, None) if isinstance(content, dict) else None
    return _decode(content, (), types) if types else content


def save_plain(content: dict[str, Any], file: BinaryIO) -> None:
    """Write plain data into a file that is open for reading and writing too."""
    torch.save(content, file)
    described = flatten({key: content.get(key) for key in (MODULE, DATA)})
    with zipfile.ZipFile(file, "a") as archive:
        paths = [path for key, path in described.items() if key.endswith(".class_path")]
        archive.writestr(CLASSES_FILE, json.dumps(paths))


def import_classes(path: Path) -> None:
    """Import what module and data of a checkpoint are made of: these files may allow types that it holds."""
    with contextlib.suppress(zipfile.BadZipFile, KeyError):  # another program wrote it
        with zipfile.ZipFile(path / PLAIN_FILE if path.is_dir() else path) as archive:
            names = json.loads(archive.read(CLASSES_FILE))
        for name in names:
            import_path(name)  # what is not there is named when it is to be built


def _encode(value: Any, path: tuple[Any, ...] = (), types: dict[Any, Any] | None = None) -> tuple[Any, str | None]:
    """Return a value as plain data, and what in it could not be read back, None if all could."""
    objects: list[Any] = []
    plain, buffer = _plain(value, path, {} if types is None else types, objects), io.BytesIO()
    try:
        torch.save(objects, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=not TRUSTED.get())
    except Exception as error:  # of any type, where an object cannot be pickled
        found = re.search(r"GLOBAL (\S+)", str(error))
        return plain, found[1] if found else str(error) or type(error).__name__
    return plain, None


def _plain(node: Any, path: tuple[Any, ...], types: dict[Any, Any], objects: list[Any]) -> Any:
    """Return a value as plain data; add what it was to `types`, and what stays an object to `objects`."""
    kind = type(node)
    if kind in (str, int, float, bool, type(None)) or isinstance(node, Tensor):
        return node
    if kind in (dict, OrderedDict, AttributeDict):
        items = [(_plain(name, (), {}, objects), item) for name, item in node.items()]
        new: Any = copy.copy(node) if kind is OrderedDict else {}  # with the versions that a state_dict keeps
        new.clear()
        new.update((name, _plain(item, (*path, name), types, objects)) for name, item in items)
        return new
    if kind in (list, tuple, deque):
        parts = [_plain(item, (*path, index), types, objects) for index, item in enumerate(node)]
        types |= {path: ("deque", node.maxlen)} if kind is deque else {}
        return tuple(parts) if kind is tuple else parts
    if isinstance(node, PurePath):
        types[path] = ("path",)
        return str(node)
    if isinstance(node, np.generic) and type(node.item()) in (str, int, float, bool, complex):
        types[path] = ("number", node.dtype.str)
        return node.item()
    is_numeric = kind is np.ndarray and node.dtype.kind in "biufc" and hasattr(torch, node.dtype.name)
    if kind is np.ndarray and node.dtype.isnative and (is_numeric or node.dtype.kind in "SU"):
        types[path] = ("array", node.dtype.str, node.shape)
        return torch.from_numpy(node.copy()) if is_numeric else node.tolist()
    objects.append(node)
    return node


def _decode(node: Any, path: tuple[Any, ...], types: dict[Any, Any]) -> Any:
    """Return plain data as it was before."""
    if isinstance(node, dict):
        node.update({name: _decode(item, (*path, name), types) for name, item in node.items()})
    elif type(node) in (list, tuple):
        node = type(node)(_decode(item, (*path, index), types) for index, item in enumerate(node))
    name, *details = types.get(path, (None,))
    return RESTORE[name](node, *details) if name else node
