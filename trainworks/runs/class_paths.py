"""Classes and functions that a configuration names, and their arguments. Nothing heavy is imported here."""

import importlib
import inspect
import os
from argparse import Namespace
from enum import Enum
from typing import Any

PLAIN = (bool, int, float, str, list, tuple, set, dict, Namespace, Enum, os.PathLike)


def import_path(path: Any) -> Any:
    """Return what stands at an import path, None if there is nothing; the parser tells why."""
    module, _, name = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    try:
        return getattr(importlib.import_module(module), name, None)
    except Exception:  # a module may raise anything; an empty path is a ValueError
        return None


def drop_defaults(node: Any, stated: Any) -> None:
    """Take defaults out of a parsed configuration, in place, that it cannot hold or that a function must not be given.

    The first are objects, such as a functools.partial. The second are those that the parser finds behind a function's
    **kwargs: torchvision's builders choose some by themselves. `stated` is the configuration as somebody wrote it.
    """
    if isinstance(node, list):
        node, stated = dict(enumerate(node)), dict(enumerate(stated)) if isinstance(stated, list) else {}
    node, arguments = _mapping(node), _mapping(_mapping(node).get("init_args"))
    stated = _mapping(stated)
    if arguments and "class_path" in node:
        own = {*_mapping(stated.get("init_args")), *_mapping(stated.get("dict_kwargs"))}
        function = import_path(node["class_path"])
        known = inspect.signature(function).parameters if inspect.isroutine(function) else arguments.keys()
        for name in set(arguments) - own:
            if name not in known or not _is_writable(arguments[name]):
                del arguments[name]
    for key, value in node.items():
        drop_defaults(value, stated.get(key))


def _mapping(node: Any) -> dict[Any, Any]:
    """Return a mapping or namespace as a dictionary whose changes reach it, anything else as an empty one."""
    return vars(node) if isinstance(node, Namespace) else node if isinstance(node, dict) else {}


def _is_writable(value: Any) -> bool:
    """Whether a value is plain, or a class or function that an import path leads to."""
    path = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
    return value is None or isinstance(value, PLAIN) or import_path(path) is value
