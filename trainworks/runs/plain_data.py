"""Checkpoints as plain data, so that reading one runs no code.

Arrays and numbers of NumPy, paths and a few containers are written as tensors, numbers, texts, lists and dictionaries.
A checkpoint keeps which of its values these are, so that they come back as they were. Other objects must be trusted.
"""

import contextlib
import copy
import io
import json
import pickle
import re
import zipfile
from collections import OrderedDict, deque
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import numpy as np
import torch
from lightning.fabric.utilities.data import AttributeDict
from numpy.lib.format import descr_to_dtype, dtype_to_descr
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from trainworks.errors import RunFailure, UsageError, listed
from trainworks.runs.class_paths import import_path
from trainworks.runs.trust import is_trusted
from trainworks.runs.yaml_files import flatten

MODULE, DATA = "module", "data"  # keys of a checkpoint: class_path and init_args of its module and of its datamodule
TYPES = "python_types"  # key of a checkpoint: what some of its values were, by the keys that lead to them
HYPERPARAMETERS = ("hyper_parameters", "hparams_type", "datamodule_hyper_parameters", "datamodule_hparams_type")
PLAIN_FILE = "plain.pt"  # of a sharded checkpoint: all but the weights and the tensors of optimizers
CLASSES_FILE = "archive/class_paths.json"  # in each file, to be read before the rest
RESTORE = {
    "path": Path,
    "attributes": AttributeDict,
    "deque": deque,
    "number": lambda value, kind: np.dtype(kind).type(value),
    "array": lambda tensor, kind, shape: tensor.cpu().numpy().view(descr_to_dtype(kind)).reshape(shape).copy(),
}


class UntrustedFile(UsageError):
    """A checkpoint holds objects that nobody has trusted."""


def to_plain(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint as plain data, without those hyperparameters that could not be read back.

    Raises:
        RunFailure: If anything else in it could not be read back.
    """
    content, types = dict[str, Any](), dict[Any, Any]()
    for key, value in checkpoint.items():
        if (is_spare := key in HYPERPARAMETERS) and isinstance(value, dict):
            value = {name: item for name, item in value.items() if not _encode(item)[1]}
        plain, found = _encode(value, (key,), types)
        if found and not is_spare:
            raise RunFailure(
                f"'{key}' in the checkpoint holds {found}, which could not be read back safely; let on_save_checkpoint "
                "and state_dict return tensors, arrays, numbers, texts, lists and dictionaries, or type --trust true"
            )
        content |= {} if found else {key: plain}
    return content | ({TYPES: types} if types else {})


def read_plain(path: Path, map_location: Any = "cpu", mmap: bool = True) -> dict[str, Any]:
    """Return a checkpoint in one file, or the plain data of a sharded one.

    Args:
        path: The file, or the folder.
        map_location: Where tensors go.
        mmap: Whether the tensors of a file are read when they are used.

    Raises:
        UntrustedFile: If it holds objects, and is not trusted.
    """
    file = path / PLAIN_FILE if path.is_dir() else path
    how: Any = {"map_location": map_location, "mmap": mmap and file is path}
    try:
        content: dict[str, Any] = torch.load(file, weights_only=not is_trusted(), **how)
    except pickle.UnpicklingError as error:
        names: list[str] = []
        with contextlib.suppress(Exception):  # of any type, where the file is damaged
            names = sorted(get_unsafe_globals_in_checkpoint(file))
        if not names:
            raise
        held = f"{path} holds {listed(names, 3)}, which could run code when it is read; none was run"
        raise UntrustedFile(
            f"{held}. Where you trust the file, type --trust true, or load_model(path, trust=True)"
        ) from error
    types = content.pop(TYPES, None) if isinstance(content, dict) else None
    return _decode(content, (), types) if types else content


def save_plain(content: dict[str, Any], file: BinaryIO) -> None:
    """Write a checkpoint that is plain data into a file that is open for reading and writing."""
    torch.save(content, file)
    described = flatten({key: content.get(key) for key in (MODULE, DATA)})
    with zipfile.ZipFile(file, "a") as archive:
        paths = [path for key, path in described.items() if key.endswith(".class_path")]
        archive.writestr(CLASSES_FILE, json.dumps(paths))


def import_classes(path: Path) -> None:
    """Import the classes of a checkpoint: their files may allow torch to read types that it holds."""
    with contextlib.suppress(zipfile.BadZipFile, KeyError):  # another program wrote it
        with zipfile.ZipFile(path / PLAIN_FILE if path.is_dir() else path) as archive:
            names = json.loads(archive.read(CLASSES_FILE))
        for name in names:
            import_path(name)  # what is not there is named when it is to be built


def _encode(value: Any, path: tuple[Any, ...] = (), types: dict[Any, Any] | None = None) -> tuple[Any, str | None]:
    """Return a value as plain data, and what in it could not be read back, None if all could."""
    objects: list[Any] = []
    plain = _as_plain(value, path, {} if types is None else types, objects)
    buffer = io.BytesIO()
    try:
        torch.save(objects, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=not is_trusted())
    except Exception as error:  # of any type, which an object raises that cannot be pickled
        name = re.search(r"GLOBAL (\S+)", str(error))
        return plain, name[1] if name else str(error) or type(error).__name__
    return plain, None


def _as_plain(node: Any, path: tuple[Any, ...], types: dict[Any, Any], objects: list[Any]) -> Any:
    """Return a value as plain data; add what it was to `types`, and what stays an object to `objects`."""
    kind, was = type(node), ()
    if kind in (str, int, float, bool, type(None)) or isinstance(node, Tensor):
        return node
    number = node.item() if isinstance(node, np.generic) else None
    if kind in (dict, OrderedDict, AttributeDict):
        names = [_as_plain(name, (), {}, objects) for name in node]
        parts = [
            _as_plain(item, (*path, name), types, objects) for name, item in zip(names, node.values(), strict=True)
        ]
        plain: Any = copy.copy(node) if kind is OrderedDict else {}  # with the versions that a state_dict keeps
        plain.clear()
        plain.update(zip(names, parts, strict=True))
        was = ("attributes",) if kind is AttributeDict else ()
    elif kind in (list, tuple, deque):
        plain = [_as_plain(item, (*path, index), types, objects) for index, item in enumerate(node)]
        plain = tuple(plain) if kind is tuple else plain
        was = ("deque", node.maxlen) if kind is deque else ()
    elif isinstance(node, PurePath):
        plain, was = str(node), ("path",)
    elif type(number) in (str, bytes, int, float, bool, complex):
        plain, was = number, ("number", node.dtype.str)
    elif kind is np.ndarray and not node.dtype.hasobject:
        plain, was = _as_tensor(node), ("array", dtype_to_descr(node.dtype), node.shape)
    else:
        objects.append(node)
        plain = node
    types |= {path: was} if was else {}
    return plain


def _as_tensor(array: np.ndarray) -> Tensor:
    """Return a tensor with the values of an array, or with its bytes where torch has no such type."""
    try:
        return torch.from_numpy(array.copy())
    except (TypeError, ValueError):
        return torch.from_numpy(np.frombuffer(array.tobytes(), np.uint8).copy())


def _decode(node: Any, path: tuple[Any, ...], types: dict[Any, Any]) -> Any:
    """Return plain data as it was before."""
    if isinstance(node, dict):
        node.update({name: _decode(item, (*path, name), types) for name, item in node.items()})
    elif type(node) in (list, tuple):
        node = type(node)(_decode(item, (*path, index), types) for index, item in enumerate(node))
    name, *details = types.get(path, (None,))
    return RESTORE[name](node, *details) if name else node
