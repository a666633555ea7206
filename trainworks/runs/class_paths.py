"""Classes and functions that a configuration names, and their arguments. Nothing heavy is imported here."""

import importlib
import inspect
import os
from argparse import Namespace
from enum import Enum
from typing import Any

import yaml

WRITABLE_TYPES = (bool, int, float, str, list, tuple, set, dict, Namespace, Enum, os.PathLike)
# arguments that a factory in a configuration leaves out, and how a module annotates such a factory
BUILT_LATER = {"params": "OptimizerCallable", "optimizer": "LRSchedulerCallable"}


def import_path(path: Any) -> Any:
    """Return the object at an import path, or None if there is none; the parser says why."""
    module, _, name = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    try:
        return getattr(importlib.import_module(module), name, None)
    except Exception:  # a module may raise anything; an empty path is a ValueError
        return None


def drop_defaults(node: Any, stated: Any) -> None:
    """Remove defaults from a parsed configuration, in place; what somebody wrote, which is in `stated`, is kept.

    Removed are objects that no file can hold, such as a functools.partial, and arguments that the parser finds behind
    the **kwargs of a function: torchvision's builders choose some of these by themselves.
    """
    if isinstance(stated, str) and isinstance(node, list | dict | Namespace):  # typed, or a class path alone
        stated = yaml.safe_load(stated)
    if isinstance(node, list):
        node, stated = dict(enumerate(node)), dict(enumerate(stated)) if isinstance(stated, list) else {}
    node, stated = _mapping(node), _mapping(stated)
    arguments = _mapping(node.get("init_args"))
    if arguments and "class_path" in node:
        own = {*_mapping(stated.get("init_args")), *_mapping(stated.get("dict_kwargs"))}
        function = import_path(node["class_path"])
        known = inspect.signature(function).parameters if inspect.isroutine(function) else arguments.keys()
        for name in set(arguments) - own:
            if name not in known or not _is_writable(arguments[name]):
                del arguments[name]
    for key, value in node.items():
        drop_defaults(value, stated.get(key))
        if isinstance(value, set | frozenset):
            node[key] = sorted(value, key=repr)  # in the same order in every process; a set again when it is built


def _mapping(node: Any) -> dict[Any, Any]:
    """Return the dictionary behind a mapping or namespace, so that changes reach it; an empty one for anything else."""
    return vars(node) if isinstance(node, Namespace) else node if isinstance(node, dict) else {}


def _is_writable(value: Any) -> bool:
    """Whether a value can be written to YAML: plain data, or a class or function that has an import path."""
    path = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
    return value is None or isinstance(value, WRITABLE_TYPES) or import_path(path) is value
