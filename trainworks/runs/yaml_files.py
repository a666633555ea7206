"""Reading and writing configurations as YAML. Nothing heavy is imported here."""

import enum
import re
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from trainworks.errors import UsageError, did_you_mean

Config = dict[str, Any]

CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
UNWRITTEN = "Unable to serialize instance "  # jsonargparse writes it before a default that it cannot write


def load_file(path: str, option: str = "--config", may_be_empty: bool = False) -> Config:
    """Read one YAML file; `option` is how the user named it, for messages."""
    try:
        config: Any = OmegaConf.to_container(OmegaConf.load(path))
    except FileNotFoundError:
        files = [*Path("configs").rglob("*.yaml"), *Path("configs").glob("*.yaml"), *Path(path).parent.glob("*.yaml")]
        near = did_you_mean(Path(path).stem, known := {file.stem: str(file) for file in files}, known)
        raise UsageError(f"{option} {path}: no such file{near}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UsageError(f"{path}, line {line}: broken YAML: {error.problem}") from None
    except (OSError, ValueError) as error:  # a folder, a binary file, a single word
        raise UsageError(f"{option} {path}: cannot be read as YAML: {error}") from None
    if not isinstance(config, dict) or not (config or may_be_empty):
        raise UsageError(f"{option} {path}: {'empty file' if not config else 'not a mapping of keys to values'}")
    return dict(config)


class _Dumper(yaml.SafeDumper):
    """Quote texts that OmegaConf would read as numbers, such as 1e3."""


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "'" if re.match(r"[-+.\d]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _write_text)
_Dumper.add_multi_representer(enum.Enum, lambda dumper, item: dumper.represent_data(item.value))  # Timer's default


def dump_yaml(content: Any) -> str:
    """Return data as YAML; OmegaConf, PyYAML and jsonargparse read its texts as texts."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False)


def write_yaml(content: Config) -> str:
    """Return a configuration as YAML that `load_file` and `resolve` read back unchanged, whatever its texts are."""
    return dump_yaml(escape(content))


def escape(node: Any) -> Any:
    """Escape the texts of a configuration, so that `resolve` finds no references in them."""
    if isinstance(node, dict):
        return {key: escape(value) for key, value in node.items()}
    if isinstance(node, list):
        return [escape(item) for item in node]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", node) if isinstance(node, str) else node


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return every value by its dotted key; a list is one value unless it holds mappings."""
    if isinstance(node, list) and any(isinstance(item, dict) for item in node):
        node = dict(enumerate(node))
    if not isinstance(node, dict) or not node:
        return {prefix: node}
    parts = [flatten(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in node.items()]
    return {key: value for part in parts for key, value in part.items()}


def short_key(key: str) -> str:
    """Return a key as it may be typed: without `class_path`, `init_args` and `dict_kwargs`."""
    return ".".join(part for part in key.split(".") if part not in CLASS_KEYS)
