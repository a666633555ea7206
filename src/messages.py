"""The parser's long reports about a wrong configuration, said in a line or two."""

import importlib
import inspect
import re
from collections.abc import Iterable
from typing import Any

from src.config import did_you_mean

KEY = re.compile(r"Parser key \"([\w.]+)\"(?: element (\d+))?")
CLASS = re.compile(r"(?:given class_path |class_path=)'([\w.]+)'")


def shorten(report: str, top_level: Iterable[str]) -> str:
    """Say what is wrong, what was received and what to write.

    Args:
        report: What jsonargparse says.
        top_level: The keys that a configuration can begin with.
    """
    path = ".init_args.".join(match[1] for match in KEY.finditer(report))
    classes = CLASS.findall(report)
    if found := re.search(r"(?:Group '([\w.]+)' does not accept option|Option) '([\w.+]+)'", report):
        group, option = found[1], found[2]
        return _unknown_option(option, path, group, classes[_depth(report, found) - 1 :], top_level)
    where = f"{path}: " if path else ""
    if found := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", report):
        near = did_you_mean(found[2], dir(importlib.import_module(found[1])))
        return f"{where}there is no {found[1]}.{found[2]}{near}"
    if found := re.search(r"No module named '([\w.]+)'", report):
        return f"{where}class_path '{classes[-1] if classes else '?'}': there is no module '{found[1]}'"
    if found := re.search(r"Expected '([\w.]+)' to be a subclass of ([^\n]+?)\.*(?: Got value|\n|$)", report):
        return f"{where}{found[1]} is not a {found[2]}; write the class_path of one"
    if found := re.search(r"the following arguments are required: ([^\n]+)", report):
        return f"{where}{classes[-1] if classes else 'the configuration'} needs {found[1]}; write a value for it"
    if found := re.search(r"Key \"?([\w.]+)\"? is required", report):
        return f"{found[1]} is required; write it in the configuration"
    return _wrong_type(report, where)


def _depth(report: str, found: re.Match[str]) -> int:
    return len(CLASS.findall(report[: found.start()]))


def _unknown_option(option: str, path: str, group: str | None, classes: list[str], top_level: Iterable[str]) -> str:
    if group == "trainer":
        from lightning.pytorch import Trainer

        return f"trainer.{option} is not an option of Trainer{did_you_mean(option, _parameters(Trainer))}"
    if not classes:
        return f"'{option}' is not a key of the configuration{did_you_mean(option, top_level)}"
    module, _, name = classes[0].rpartition(".")
    try:
        known = _parameters(getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError, ValueError):
        known = []
    key = f"{path}.init_args.{option}" if path else option
    return f"{key}: {classes[0]} takes no '{option}'{did_you_mean(option, known)}"


def _wrong_type(report: str, where: str) -> str:
    """Name the value and the types it may have; without both, keep the first lines of the report."""
    given = re.search(r"Given value: ([^\n]*?)(?:\. Got value: [^\n]*)?$", report, re.MULTILINE)
    before = report[: given.start()] if given else report
    expected = re.findall(r"Subtypes: \[([^\n]*)\]", before)[-1:] or re.findall(r"Expected (?:a |an )?([^\n]+)", before)
    if dotted := re.search(r"Expected a dot import path string: ([^\n]+)", report):
        if "class_path" in report or not given:
            return f"{where}'{dotted[1]}' is not an import path; write one such as src.models.ClassifierModule"
    if given and expected:
        types = re.sub(r"<class '([^']+)'>", r"\1", expected[-1])
        return f"{where}expected {types.replace(', NoneType', ' or null')}, got {given[1][:200]}"
    return "\n".join(line for line in report.splitlines() if line.strip())[:800]


def _parameters(component: Any) -> list[str]:  # noqa: ANN401
    return list(inspect.signature(component).parameters)
