"""From words typed to one plain dictionary. Nothing heavy is imported here, so these mistakes are found at once."""

import copy
import os
import re
from inspect import signature
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainworks.errors import UsageError, did_you_mean, first_line
from trainworks.runs.class_paths import import_path
from trainworks.runs.yaml_files import CLASS_KEYS, Config, escape, flatten, short_key

PATH_KEYS = ("save_dir", "dirpath")  # where loggers and callbacks write: relative to the run directory
DATA_REFERENCE = re.compile(r"\$\{data\.init_args\.(\w+)\}")


def merge(base: Config, update: Config) -> Config:
    """Return `base` with `update` laid over it.

    Mappings merge key by key, anything else is replaced, and `key+:` appends to a list. A new `class_path` starts
    with no arguments: those of the class before it are dropped, not handed over, unless it derives from that class.
    """
    merged = dict(base)
    for key, value in update.items():
        old: Any = merged.get(key.removesuffix("+"))
        if key.endswith("+"):
            merged[key[:-1]] = [*as_list(old), *as_list(value)]
        elif isinstance(value, dict):
            old = {"class_path": old} if isinstance(old, str) and "init_args" in value else old
            old = old if isinstance(old, dict) else {}
            same = value.get("class_path") in (None, old.get("class_path"))
            merged[key] = merge(old if same else _inherited(old, value["class_path"]), value)
        else:
            merged[key] = value
    return merged


def override(config: Config, key: str, text: str) -> None:
    """Set one dotted key in place; `init_args` may be left out, and a number (or nothing) picks from a list.

    The value stays text, but for what `key+` appends and a mapping holds: the parser turns it into what its type asks.
    """
    *parents, last = key.removesuffix(".class_path").split(".")
    node = owner = config
    for name in parents:
        owner, node = node, _child(node, key, name)
    has_no_types = "class_path" in owner and parents[-1] not in CLASS_KEYS and "class_path" not in node  # a mapping
    node = _container(node, last)
    if isinstance(node, list):
        node[_index(node, key, last)] = text
        return
    old = node.get(last)
    is_name = re.fullmatch(r"[A-Za-z_][\w.]*", text) and text not in ("null", "true", "false")
    is_class = is_name and ("." in text or parents[:1] != ["trainer"])  # which has short names too, such as ddp
    swaps = isinstance(old, dict) and "class_path" in old and is_class
    value = {"class_path": text} if swaps else typed_value(key, text) if last.endswith("+") or has_no_types else text
    node.update(merge(node, {last: value}))


def typed_value(key: str, text: str) -> Any:
    """Return what was typed for a key, read as YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        raise UsageError(f"--{key} {text}: broken YAML: {error.problem}") from None


def apply_overrides(config: Config, overrides: list[tuple[str, str]]) -> Config:
    """Return a copy of `config` with every typed (key, value) set; a class is set before its arguments."""
    config = copy.deepcopy(config)
    for key, text in sorted(overrides, key=lambda item: short_key(item[0]).count(".")):
        override(config, key, text)
    return config


def put_inside(directory: Path, node: Any) -> None:
    """Put the relative output folders of every class below `node` inside the run directory, in place."""
    if isinstance(node, list):
        for item in node:
            put_inside(directory, item)
    elif hasattr(node, "items"):
        for key, value in list(node.items()):  # a Namespace lists its nested keys too, dotted
            if str(key).rpartition(".")[2] in PATH_KEYS and isinstance(value, str | os.PathLike):
                node[key] = str(directory / value)
            else:
                put_inside(directory, value)


def left_to_data(config: Config) -> set[str]:
    """Return the arguments of the data that the configuration refers to and does not state."""
    data = config.get("data")
    if not isinstance(data, dict) or "class_path" not in data:
        return set()
    stated = data.get("init_args") or {}
    return {name for name in DATA_REFERENCE.findall(str(config)) if stated.get(name) in (None, "null")}


def with_data(config: Config, arguments: Config) -> Config:
    """Return a configuration with arguments of the data filled in, and all references resolved."""
    return resolve(merge(config, {"data": {"init_args": escape(arguments)}}))


def resolve(config: Config) -> Config:
    """Replace every `${dotted.key}` by the value that stands there, or by the default of the class's signature."""
    try:
        resolved: Any = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    except OmegaConfBaseException as error:
        match = re.search(r"Interpolation key '([\w.]+)'|trying to access ([\w.]+):", str(error))
        if match is None:
            raise UsageError(f"{error.full_key}: {first_line(error)}") from None
        target = match[1] or match[2]
        if (default := _default_of(config, target)) is not None:
            for key in reversed(target.split(".")):
                default = {key: default}
            return resolve(merge(config, default))
        is_off = flatten(config).get(target.partition(".init_args.")[0], target) is None  # such as a callback
        how = f"write a value for {error.full_key if is_off else target}"
        for whole in (target.replace(".", ".init_args."), f"data.init_args.{target}"):
            owner, _, name = whole.rpartition(".init_args.")
            found = import_path(flatten(config).get(f"{owner}.class_path"))
            if found is not None and name in signature(found).parameters:
                how = f"write ${{{whole}}}"
        raise UsageError(f"{error.full_key} refers to {target}, which is not set; {how}") from None
    return dict(resolved)


def _inherited(old: Config, path: Any) -> Config:
    """Return the arguments that a class takes over from the one before it, as `init_args`, if it derives from that."""
    arguments = old.get("init_args")
    if not arguments or not isinstance(path, str):
        return {}
    new, before = import_path(path), import_path(old.get("class_path"))
    if not (isinstance(new, type) and isinstance(before, type) and issubclass(new, before)):
        return {}
    known = signature(new).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    return {"init_args": {name: value for name, value in arguments.items() if takes_any or name in known}}


def _default_of(config: Config, target: str) -> Any:
    """Return the default of `....init_args.name` in the signature of the class that stands there; None for none."""
    *parents, name = target.split(".")
    node: Any = config
    for key in parents[:-1]:
        node = node.get(key) if isinstance(node, dict) else None
    path = node.get("class_path") if isinstance(node, dict) else node
    if (found := import_path(path)) is None and isinstance(path, str) and "." in path:
        near = did_you_mean(path.rpartition(".")[2], dir(import_path(path.rpartition(".")[0])))
        raise UsageError(f"there is no {path}{near}")
    parameter = signature(found).parameters.get(name) if found is not None else None
    default = parameter.default if parameter is not None and parents[-1:] == ["init_args"] else None
    return default if isinstance(default, int | float | str) else None


def as_list(value: Any) -> list[Any]:
    """Return a list as it is, nothing or false as an empty one, anything else as one of one."""
    return [] if value is None or value is False else value if isinstance(value, list) else [value]


def _index(node: list[Any], key: str, name: str) -> int:
    """Turn a key's part into a list index; an element that is not there is a UsageError."""
    if not name.isdecimal() or int(name) >= len(node):
        raise UsageError(f"--{key}: '{name}' picks none of the list's {len(node)} elements; write their number, from 0")
    return int(name)


def _container(node: Any, name: str) -> Any:
    """Return the mapping or list in which `name` stands, stepping into `init_args` where it was left out."""
    if isinstance(node, list) and node and not name.isdecimal():
        node = _opened(node, -1)
    if isinstance(node, dict) and "class_path" in node and name not in CLASS_KEYS:
        if not isinstance(node.get("init_args"), dict):
            node["init_args"] = {}
        node = node["init_args"]
    return node


def _child(node: Any, key: str, name: str) -> Any:
    node = _container(node, name)
    if isinstance(node, list):
        return _opened(node, _index(node, key, name))
    if not isinstance(node.get(name), str | dict | list):
        node[name] = {}
    return _opened(node, name)


def _opened(node: Any, key: int | str) -> Any:
    """Return what stands in a mapping or list; a class path alone becomes one that arguments can be added to."""
    if isinstance(node[key], str):
        node[key] = {"class_path": node[key]}
    return node[key]
