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

from trainworks.errors import RunFailure, UsageError
from trainworks.runs.class_paths import import_path
from trainworks.runs.files import TRUSTED
from trainworks.runs.yaml_files import flatten

MODULE, DATA = "module", "data"  # keys of a checkpoint: class_path and init_args of its module and of its datamodule
TYPES = "python_types"  # key of a checkpoint: what some of its values were, by the keys that lead to them
HYPERPARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")  # keys of Lightning; `load_model` needs neither
PLAIN_FILE = "plain.pt"  # of a sharded checkpoint: all but the weights and the tensors of optimizers
CLASSES_FILE = "archive/class_paths.json"  # in each file, to be read before the rest
REFUSED = re.compile(r"GLOBAL (\S+)")  # in what torch says of a file that holds an object
RESTORE: dict[str, Callable[..., Any]] = {
    "path": Path,
    "deque": deque,
    "number": lambda value, kind: np.dtype(kind).type(value),
    "array": lambda values, kind, shape: np.asarray(values).astype(kind).reshape(shape),
}


class UntrustedFile(UsageError):
    """A checkpoint holds objects that nobody has trusted."""


def to_plain(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint as plain data, less hyperparameters that are none; a RunFailure if anything else is none."""
    content, types = dict[str, Any](), dict[Any, Any]()
    for key, value in checkpoint.items():
        if key in HYPERPARAMETERS:
            content[key] = {}
            for name, item in value.items():
                with contextlib.suppress(RunFailure):
                    content[key][name] = _plain(item, (key, name), types)
        elif TRUSTED.get() or not key.endswith("hparams_type"):  # the class of hyperparameters that are no dictionary
            content[key] = _plain(value, (key,), types)
    return content | ({TYPES: types} if types else {})


def read_plain(path: Path, map_location: Any = "cpu", mmap: bool = True) -> dict[str, Any]:
    """Return a checkpoint in one file, with tensors that are read when used (`mmap`), or a sharded one's plain data."""
    file, mmap = (path / PLAIN_FILE, False) if path.is_dir() else (path, mmap)
    try:
        content = torch.load(file, map_location=map_location, mmap=mmap, weights_only=not TRUSTED.get())
    except pickle.UnpicklingError as error:
        if found := REFUSED.search(str(error)):
            held = f"{path} holds {found[1]}, which could run code; none was run. Where you trust the file"
            raise UntrustedFile(f"{held}, type --trust true, or load_model(path, trust=True) in Python") from error
        raise
    types = content.pop(TYPES, None) if isinstance(content, dict) else None
    return _restored(content, (), types) if types else content


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


def _plain(node: Any, path: tuple[Any, ...], types: dict[Any, Any]) -> Any:
    """Return a value as plain data, and keep in `types` what it was."""
    kind = type(node)
    is_tensor = isinstance(node, Tensor) and kind.__module__.partition(".")[0] == "torch"  # of no other class
    if kind in (str, int, float, bool, type(None)) or is_tensor:
        return node
    if kind in (dict, OrderedDict, AttributeDict):
        items = [(_plain(name, path, {}), item) for name, item in node.items()]
        new: Any = copy.copy(node) if kind is OrderedDict else {}  # with the versions that a state_dict keeps
        new.clear()
        new.update((name, _plain(item, (*path, name), types)) for name, item in items)
        return new
    if kind in (list, tuple, deque):
        parts = [_plain(item, (*path, index), types) for index, item in enumerate(node)]
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
    _check_object(node, path)
    return node


def _check_object(node: Any, path: tuple[Any, ...]) -> None:
    """Save and load an object that is no plain data, and raise a RunFailure if it does not come back."""
    try:
        torch.save(node, buffer := io.BytesIO())
        buffer.seek(0)
        torch.load(buffer, weights_only=not TRUSTED.get())
    except Exception as error:  # of any type
        found = REFUSED.search(str(error))
        raise RunFailure(
            f"'{'.'.join(map(str, path))}' in the checkpoint holds {found[1] if found else error}, which could not be "
            "read back safely; let on_save_checkpoint and state_dict return tensors, arrays, numbers, strings, lists "
            f"and dictionaries{'' if TRUSTED.get() else ', or type --trust true'}"
        ) from None


def _restored(node: Any, path: tuple[Any, ...], types: dict[Any, Any]) -> Any:
    """Return plain data as it was before."""
    if isinstance(node, dict):
        for name, item in [*node.items()]:  # one by one: a Counter's update would add
            node[name] = _restored(item, (*path, name), types)
    elif type(node) in (list, tuple):
        node = type(node)(_restored(item, (*path, index), types) for index, item in enumerate(node))
    name, *details = types.get(path, (None,))
    return RESTORE[name](node, *details) if name else node
