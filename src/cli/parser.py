"""What went wrong, said in a few lines."""

import contextlib
import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]

import src.callbacks
import src.datamodules
import src.models
from src.cli.request import DEFAULTS
from src.errors import RunFailure, UsageError, did_you_mean
from src.runs.yaml_files import Config, load_file

# What a constructor, or the setup before the first batch, raises for a value that cannot be.
MISTAKES = (ValueError, RuntimeError, AssertionError, OSError, ImportError, MisconfigurationException)

BATCHES = (
    *(f"limit_{part}_batches" for part in ("train", "val", "test", "predict")),
    "overfit_batches",
    "val_check_interval",
)
TOP_LEVEL = ("experiment", "seed_everything", "trainer", "callbacks", "model", "data")  # keys of a configuration

PEER_GONE = re.compile("Connection (closed|reset) by peer|Socket Timeout|Broken pipe")

LISTS = {"SequentialLR": "SequentialSchedulers", "ChainedScheduler": "ChainedSchedulers"}  # ours take factories

KEY = re.compile(r"Parser key \"([\w.]+)\"(?: element (\d+))?")
CLASS = re.compile(r"(?:given class_path |class_path=)'([\w.]+)'")


class Parser(LightningArgumentParser):
    """Lightning's parser, with errors as one short message."""

    def add_lightning_class_args(self, *args: Any, **kwargs: Any) -> list[str]:
        """Let whole numbers of batches stay so, since 1.0 means all; typing may hand out float before int for both.

        Data may be left out: a module can bring its own loaders.
        """
        kwargs |= {"required": False} if "data" in args else {}
        added = super().add_lightning_class_args(*args, **kwargs)
        for action in self._actions:
            if action.dest.partition(".")[2] in BATCHES:
                action._typehint = int | float | None  # type: ignore[attr-defined]
        return added

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise UsageError, except where the parser only tries whether a value fits."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise UsageError(shorten(message))


def print_help(parser: LightningArgumentParser, words: list[str], config: Config) -> NoReturn:
    """Print the parser's help and, with a configuration, that of its model and data."""
    for package in (src.callbacks, src.datamodules, src.models):  # help lists the classes that are loaded
        for name in package.__all__:
            getattr(package, name)
    defaults = load_file(str(DEFAULTS))
    shown = {f"trainer.{key}": value for key, value in defaults["trainer"].items() if not isinstance(value, dict)}
    parser.set_defaults({**shown, "seed_everything": defaults["seed_everything"]})
    requests = [words]
    if config:
        chosen = {key: config.get(key) for key in ("model", "data")}
        paths = {key: item.get("class_path") if isinstance(item, dict) else item for key, item in chosen.items()}
        requests += [[f"--{key}.help={path}"] for key, path in paths.items() if path]
    for request in requests:
        with contextlib.suppress(SystemExit):
            parser.parse_args(request)
    sys.exit(0)


@contextlib.contextmanager
def mistakes_in_one_line() -> Iterator[None]:
    """Turn what a constructor raises for a value that cannot be into a UsageError, with what it said itself."""
    try:
        yield
    except BaseException as error:
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        last = traceback.extract_tb(cause.__traceback__)[-1].filename
        if isinstance(cause, MISTAKES) or (isinstance(cause, TypeError) and "lightning" in Path(last).parts):
            raise UsageError(describe(cause)) from error
        raise


def check_functions(node: Any, key: str = "") -> None:
    """Refuse functions that do not say what they return: they make nothing, and would be called all the same.

    Args:
        node: A parsed configuration, as plain data.
        key: Where it stands.

    Raises:
        UsageError: If a class_path is such a function.
    """
    if isinstance(node, dict):
        path = node.get("class_path")
        if isinstance(path, str) and "." in path:
            module, _, name = path.rpartition(".")
            found = getattr(importlib.import_module(module), name, None)
            if inspect.isroutine(found) and not getattr(found, "__annotations__", {}).get("return"):
                raise UsageError(f"{key}: {path} is a function that does not say what it returns; write a class's path")
        for name, value in node.items():
            check_functions(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for item in node:
            check_functions(item, key)


def describe(error: BaseException) -> str:
    """Say what a library or a constructor complained of, and where, in a few lines."""
    if isinstance(error, UsageError) and str(error).startswith("Caught "):  # in a loader's process, with its traceback
        return str(error).strip().splitlines()[-1].partition(": ")[2]
    message = "\n".join(str(error).strip().splitlines()[:10])[:1500] or type(error).__name__
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, ValueError | RunFailure) and Path(frame.filename).is_relative_to(Path(__file__).parents[1]):
        return message  # our own check, which says all there is to say
    return f"{message}\n({type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno})"


def shorten(report: str) -> str:
    """Say what is wrong, what was received and what to write, from what jsonargparse reports."""
    path = ".init_args.".join(match[1] for match in KEY.finditer(report))
    classes = CLASS.findall(report)
    where = f"{path}: " if path else ""
    for name, ours in LISTS.items():
        if f"'torch.optim.lr_scheduler.{name}'" in report:
            return f"{where}{name} takes built schedulers, which no configuration can hold; write src.optim.{ours}"
    if found := re.search(r"(?:Group '([\w.]+)' does not accept option|Option) '([\w.+]+)'", report):
        group, option = found[1], found[2]
        return _unknown_option(option, path, group, classes[_depth(report, found) - 1 :])
    if found := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", report):
        near = did_you_mean(found[2], dir(importlib.import_module(found[1])))
        return f"{where}there is no {found[1]}.{found[2]}{near}"
    if found := re.search(r"No module named '([\w.]+)'", report):
        return f"{where}class_path '{classes[-1] if classes else '?'}': there is no module '{found[1]}'"
    if found := re.search(r"Expected '([\w.]+)' to be a subclass of ([^\n]+?)\.*(?: Got value|\n|$)", report):
        return f"{where}{found[1]} is not a {found[2]}; write the class_path of one"
    if found := re.search(r"Import path ?([\w.]*) does not correspond to a subclass of (\w+)", report):
        given = re.search(r"Given value: ([\w.]+)", report[found.end() :])
        return f"{where}{found[1] or (given[1] if given else '')} is not a {found[2]}; write the class_path of one"
    if found := re.search(r"the following arguments are required: (.+?)(?:\. Got value|\n|$)", report):
        named_later = report[: found.start()].endswith("callable class: ")  # the class of a factory
        owner = classes[_depth(report, found) - (not named_later)] if classes else "the configuration"
        return f"{where}{owner} needs {found[1]}; write a value for it"
    return _wrong_type(report, where)


def _depth(report: str, found: re.Match[str]) -> int:
    return len(CLASS.findall(report[: found.start()]))


def _unknown_option(option: str, path: str, group: str | None, classes: list[str]) -> str:
    if group == "trainer":
        return f"trainer.{option} is not an option of Trainer{did_you_mean(option, _parameters(Trainer))}"
    if not classes:
        return f"'{option}' is not a key of the configuration{did_you_mean(option, TOP_LEVEL)}"
    module, _, name = classes[0].rpartition(".")
    try:
        known = _parameters(getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError, ValueError):
        known = []
    key = f"{path}.init_args.{option}" if path else option
    return f"{key}: {classes[0]} takes no '{option}'{did_you_mean(option, known)}"


def _wrong_type(report: str, where: str) -> str:
    """Name the value and the types it may have; where the report has neither, keep its first lines."""
    keys = list(KEY.finditer(report))
    inner = report[keys[-1].start() :] if keys else report
    got = r"(.*?)(?:\. Got value: Namespace.*)?$"
    if found := re.search(r"Subtypes: \[(.*)\](?:.|\n)*?Given value: " + got, inner, re.MULTILINE):
        return f"{where}expected {_readable(found[1])}, got {found[2][:200]}"
    if found := re.search(r"Expected an? (.*?)\. Got value: " + got, inner, re.MULTILINE):
        return f"{where}expected {_readable(found[1])}, got {found[2][:200]}"
    if found := re.search(r"Not a valid subclass of (\w+)\. Got value: " + got, inner, re.MULTILINE):
        return f"{where}expected the class_path of a {found[1]}, got {found[2][:200]}"
    if found := re.search(r"Expected a dot import path string: (.*)", inner):
        return f"{where}'{found[1]}' is not an import path; write one such as src.models.ClassifierModule"
    return "\n".join(line for line in report.splitlines() if line.strip())[:800]


def _readable(types: str) -> str:
    """Say "int or null" for "<class 'int'>, <class 'NoneType'>"."""
    types = re.sub(r"<class '([^']+)'>", r"\1", types).replace("NoneType", "null")
    types = re.sub(r"(?:\w+\.)+(\w+)", r"\1", types)
    types = re.sub(r"Literal\[([^\]]*)\]", r"\1", types)
    return " or ".join(types.rsplit(", ", 1)) if types.endswith("null") else types


def _parameters(component: Any) -> list[str]:
    return list(inspect.signature(component).parameters)
