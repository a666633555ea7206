"""Completion of the command line in a shell, through argcomplete. Nothing heavy is imported here."""

import itertools
import json
import os
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

import argcomplete
from argcomplete.completers import FilesCompleter

from trainworks.cli.command import all_options, command_names
from trainworks.cli.defaults import merged
from trainworks.errors import UsageError
from trainworks.root import SCHEMA
from trainworks.runs.yaml_files import flatten, load_file, short_key


def complete() -> None:
    """Answer with commands, files, options, and the keys and values that the configuration typed so far can have.

    Keys are those that the configuration has, and with their values those of `configs/schema.json`. The process ends.
    """
    words = os.environ["COMP_LINE"].split()
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("command", nargs="?", choices=command_names())
    parser.add_argument("words", nargs="*").completer = FilesCompleter()  # type: ignore[attr-defined]
    files = parser.add_argument("--config", "-c", action="append")
    files.completer = FilesCompleter(("yaml",))  # type: ignore[attr-defined]
    for name, option in all_options().items():
        if name != "config":
            parser.add_argument(f"--{name}", choices=option.choices or None)
    try:
        named = [after for word, after in itertools.pairwise(words) if word in ("--config", "-c")]
        config = merged([(path, load_file(path)) for path in named])
    except UsageError:  # a name that is not whole yet
        config = {}
    keys: dict[str, list[str]] = {short_key(key): [] for key in flatten(config) if key}
    if SCHEMA.exists():
        keys.update(_keys(json.loads(SCHEMA.read_text(encoding="utf-8")), config))
    for key, choices in keys.items():
        parser.add_argument(f"--{key}", choices=choices or None)
    argcomplete.autocomplete(parser, always_complete_options=False)


def _keys(schema: dict[str, Any], config: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield each key that can be typed, without `init_args`, and the values that it can have where they are listed."""

    def forms(node: Any) -> Iterator[dict[str, Any]]:
        if "$ref" in node:
            yield from forms(schema["$defs"][node["$ref"].rpartition("/")[2]])
        for inner in node.get("anyOf", ()):
            yield from forms(inner)
        yield node

    def keys(node: dict[str, Any], value: Any, prefix: str) -> Iterator[tuple[str, list[str]]]:
        value = {"class_path": value} if isinstance(value, str) else value if isinstance(value, dict) else {}
        for form in forms(node):
            properties = form.get("properties", {})
            if "class_path" in properties:
                if properties["class_path"].get("const") == value.get("class_path"):
                    yield from keys(properties["init_args"], value.get("init_args"), prefix)
                continue
            named = form.get("additionalProperties")  # callbacks, metrics: any name
            properties = properties or (dict.fromkeys(value, named) if isinstance(named, dict) else {})
            for name in properties.keys() - {"init_args", "dict_kwargs"}:
                yield prefix + name, sorted(set(choices(properties[name])))
                yield from keys(properties[name], value.get(name), f"{prefix}{name}.")

    def choices(node: dict[str, Any]) -> Iterator[str]:
        for form in forms(node):
            yield from ["true", "false"] if "boolean" in form.get("type", ()) else map(str, form.get("enum", ()))

    yield from keys({**schema, "$defs": {}}, config, "")
