"""From words typed to one plain dictionary. Nothing heavy is imported here, so these mistakes are found at once."""

import copy
import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

Config = dict[str, Any]
CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
DATA_REFERENCE = re.compile(r"\$\{data\.init_args\.(\w+)\}")


class UsageError(ValueError):
    """A user's mistake: shown as one message, exit code 2, no traceback."""


class RunFailure(Exception):
    """What stopped a run, with all there is to say: shown as one message, exit code 1, no traceback."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean x?)" for the nearest of `known`, or an empty string."""
    near = difflib.get_close_matches(word, sorted(known), 1, 0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def load_file(path: str) -> Config:
    """Read one YAML file.

    Raises:
        UsageError: If the file is missing, empty, not YAML, or not a mapping.
    """
    try:
        config: Any = OmegaConf.to_container(OmegaConf.load(path))
    except FileNotFoundError:
        near = did_you_mean(Path(path).stem, [file.stem for file in Path(path).parent.glob("*.yaml")])
        raise UsageError(f"--config {path}: no such file{near}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UsageError(f"{path}, line {line}: broken YAML: {error.problem}") from None
    except (OSError, ValueError) as error:  # a folder, not text, a lone word
        raise UsageError(f"--config {path}: cannot be read as YAML: {error}") from None
    if not isinstance(config, dict) or not config:
        raise UsageError(f"--config {path}: {'empty file' if not config else 'not a mapping of keys to values'}")
    return config


def merge(base: Config, update: Config) -> Config:
    """Return `base` with `update` laid over it.

    Mappings merge key by key, anything else is replaced, and `key+:` appends to a list. A new `class_path` starts
    with no arguments: those of the class before it are dropped, not handed over.
    """
    merged = dict(base)
    for key, value in update.items():
        old: Any = merged.get(key.removesuffix("+"))
        if key.endswith("+"):
            merged[key[:-1]] = [*_as_list(old), *_as_list(value)]
        elif isinstance(value, dict):
            old = {"class_path": old} if isinstance(old, str) and "init_args" in value else old
            keep = isinstance(old, dict) and value.get("class_path") in (None, old.get("class_path"))
            merged[key] = merge(old if keep else {}, value)
        else:
            merged[key] = value
    return merged


def override(config: Config, key: str, text: str) -> None:
    """Set one dotted key in place; `init_args` may be left out, and a number (or nothing) picks from a list.

    The value stays text: the parser turns it into what the parameter's type asks for.
    """
    *parents, last = key.split(".")
    node: Any = config
    for name in parents:
        node = _child(node, key, name)
    node, name = _container(node, last)
    if name.endswith("+"):
        node[name[:-1]] = [*_as_list(node.get(name[:-1])), *_as_list(yaml.safe_load(text))]
    elif isinstance(node, list):
        node[_index(node, key, name)] = text
    elif name == "class_path" and text != node.get("class_path"):
        node.clear()
        node["class_path"] = text
    elif isinstance(old := node.get(name), dict) and "class_path" in old and _is_class(parents, text):
        node[name] = old if text == old["class_path"] else {"class_path": text}
    else:
        node[name] = text


def apply_overrides(config: Config, overrides: list[tuple[str, str]]) -> Config:
    """Return a copy of `config` with every typed (key, value) set; a class is set before its arguments."""
    config = copy.deepcopy(config)
    for key, text in sorted(overrides, key=lambda item: len([k for k in item[0].split(".") if k not in CLASS_KEYS])):
        override(config, key, text)
    return config


def left_to_data(config: Config) -> set[str]:
    """Return the arguments of the data that the configuration refers to and does not state."""
    data = config.get("data")
    if not isinstance(data, dict) or "class_path" not in data:
        return set()
    stated = data.get("init_args") or {}
    return {name for name in DATA_REFERENCE.findall(str(config)) if stated.get(name) in (None, "null")}


def state(config: Config, facts: Config) -> Config:
    """Return `config` with arguments of the data set, and all references resolved."""
    return resolve(merge(config, {"data": {"init_args": facts}}))


def resolve(config: Config) -> Config:
    """Replace every `${dotted.key}` by the value that stands there after all merging.

    Raises:
        UsageError: If a reference leads nowhere.
    """
    try:
        resolved: Any = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    except InterpolationKeyError as error:
        target = str(error).split("'")[1]
        raise UsageError(f"{error.full_key} refers to {target}, which is not set; write a value for {target}") from None
    except OmegaConfBaseException as error:
        raise UsageError(f"{error.full_key}: {str(error).splitlines()[0]}") from None
    return dict(resolved)


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _is_class(parents: list[str], text: str) -> bool:
    """Whether a text that replaces a class is another class; the trainer also knows short names, such as ddp."""
    path = re.fullmatch(r"[A-Za-z_][\w.]*", text) is not None and text not in ("null", "true", "false")
    return path and ("." in text or parents[:1] != ["trainer"])


def _index(node: list[Any], key: str, name: str) -> int:
    """Turn a key's part into a list index.

    Raises:
        UsageError: If there is no such element.
    """
    if not name.isdigit() or int(name) >= len(node):
        raise UsageError(f"--{key}: '{name}' picks none of the list's {len(node)} elements; write their number, from 0")
    return int(name)


def _container(node: Any, name: str) -> tuple[Any, str]:
    """Return the mapping or list in which `name` stands, stepping into `init_args` where it was left out."""
    if isinstance(node, list) and node and not name.isdigit():
        if isinstance(node[-1], str):
            node[-1] = {"class_path": node[-1]}
        node = node[-1]
    if isinstance(node, dict) and "class_path" in node and name not in CLASS_KEYS:
        if not isinstance(node.get("init_args"), dict):
            node["init_args"] = {}
        node = node["init_args"]
    return node, name


def _child(node: Any, key: str, name: str) -> Any:
    node, name = _container(node, name)
    if isinstance(node, list):
        place = _index(node, key, name)
        if isinstance(node[place], str):
            node[place] = {"class_path": node[place]}
        return node[place]
    if isinstance(node.get(name), str):
        node[name] = {"class_path": node[name]}
    elif not isinstance(node.get(name), dict | list):
        node[name] = {}
    return node[name]
