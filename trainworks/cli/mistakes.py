"""What is wrong with a configuration, said in a few lines. Only loaded where something is."""

import importlib
import re
import traceback
from collections.abc import Sequence
from contextlib import suppress
from inspect import Parameter, signature
from pathlib import Path

from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer

from trainworks.cli.command import all_options
from trainworks.cli.command_line import TOP_LEVEL
from trainworks.cli.help import add_arguments
from trainworks.errors import RunFailure, UsageError, did_you_mean, listed
from trainworks.root import LIBRARY, OWN, ROOT
from trainworks.runs.class_paths import BUILT_LATER, import_path
from trainworks.runs.yaml_files import Config, flatten, short_key

LISTS = {"SequentialLR": "SequentialSchedulers", "ChainedScheduler": "ChainedSchedulers"}  # ours take factories
INSTEAD = "import lightning.pytorch in its place, whose classes have the same names"

KEY = re.compile(r"Parser key \"([\w.]+)\"(?: element (\d+))?")
CLASS = re.compile(r"(?:given class_path |class_path=)'([\w.]+)'")


def describe(error: BaseException) -> str:
    """Say what a library or a constructor complained of, and where, in a few lines."""
    if isinstance(error, UsageError) and str(error).startswith("Caught "):  # in a loader's process, with its traceback
        return str(error).strip().splitlines()[-1].partition(": ")[2]
    message = "\n".join(str(error).strip().splitlines()[:10])[:1500] or type(error).__name__
    frame = traceback.extract_tb(error.__traceback__)[-1]
    file, raised = Path(frame.filename), (frame.line or "").startswith("raise")  # and not met with, as by float("x")
    is_check = file.is_relative_to(LIBRARY) or (file.is_relative_to(ROOT / OWN) and raised)
    if is_check and isinstance(error, ValueError | RunFailure):
        return message  # which says all there is to say
    return f"{message}\n({type(error).__name__} in {file.name}, line {frame.lineno})"


def shorten(report: str, config: Config) -> str:
    """Say what is wrong, what was received and what to write, from what jsonargparse reports of a configuration."""
    path = ".init_args.".join(match[1] for match in KEY.finditer(report))
    classes = CLASS.findall(report)
    where = f"{path}: " if path else ""
    for name, ours in LISTS.items():
        if f"'torch.optim.lr_scheduler.{name}'" in report:
            return f"{where}{name} takes built schedulers, which YAML cannot hold; write trainworks.optim.{ours}"
    if found := re.search(r"(?:Group '([\w.]+)' does not accept option|Option) '([\w.+]+)'", report):
        built_later = re.match(r" is not accepted\. Got value: Namespace\(class_path='([\w.]+)'", report[found.end() :])
        before = report[: found.start()]
        owners = [built_later[1]] if built_later else CLASS.findall(before) or classes
        if found[1] == "trainer":
            options = [*signature(Trainer).parameters]
            near = did_you_mean(next((name for name in options if found[2] in name.split("_")), found[2]), options)
            return f"trainer.{found[2]} is not an option of Trainer{near}"
        if not owners:
            return unknown_key(found[2], config)
        factory = re.search(r"Callable\[\[([^][]+)\], .*expects a function or a callable class: $", before)
        return _unknown_option(found[2], path, owners[-1], factory[1].count(",") + 1 if factory else 0, config)
    if found := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", report):
        near = did_you_mean(found[2], dir(importlib.import_module(found[1])))
        return f"{where}there is no {found[1]}.{found[2]}{near}"
    if found := re.search(r"No module named '([\w.]+)'(?:\. Got value: (\w+(?:\.\w+)+))?", report):
        owner = found[2] or (classes[-1] if classes else "?")
        how = f"; {INSTEAD}" if found[1] == "pytorch_lightning" else ""
        return f"{where}class_path '{owner}': there is no module '{found[1]}'{how}"
    kind = r"(?:Expected '([\w.]+)' to be|Import path ?([\w.]*) does not correspond to) a subclass of (\S+?)\.*\s"
    if found := re.search(kind, f"{report}\n"):
        given = re.search(r"Given value: ([\w.]+)", report[found.end() :])
        name = found[1] or found[2] or (given[1] if given else "")
        modules = [base.__module__ for base in getattr(import_path(name), "__mro__", ())]
        if any(module.startswith("pytorch_lightning.") for module in modules):
            return f"{where}{name} derives from the package pytorch_lightning; {INSTEAD}"
        return f"{where}{name} is not a {found[3]}; write the class_path of one"
    if found := re.search(r"the following arguments are required: (.+?)(?:\. Got value|\n|$)", report):
        before = report[: found.start()]
        index = len(CLASS.findall(before)) - (not before.endswith("callable class: "))  # a factory's is named later
        owner = classes[index] if classes else "the configuration"
        if found[1] in BUILT_LATER:
            how = f"annotate this argument as lightning.pytorch.cli.{BUILT_LATER[found[1]]}, and call it"
            return f"{where}{owner} needs {found[1]}, which only your module has: {how}"
        return f"{where}{owner} needs {found[1]}; write a value for it"
    return _wrong_type(report, path, config)


def unknown_key(key: str, config: Config, options: Sequence[str] = ()) -> str:
    """Say that a configuration has no such key; a similar one, or one of the command's `options`, may be meant."""
    near = did_you_mean(key, [*options, *TOP_LEVEL]) or _elsewhere("", key, config)
    return f"'{key}' is not a key of the configuration{near}"


def _unknown_option(option: str, path: str, owner: str, num_given: int, config: Config) -> str:
    """Say that the class `owner` takes no such option, or not here: whoever builds it gives its first arguments."""
    key = _with_element(f"{path}.init_args.{option}" if path else option, config, owner=owner)
    path, name = key.rpartition(f".init_args.{option}")[0], option.partition(".")[0]
    parameters, known = dict[str, Parameter](), list[str]()
    with suppress(TypeError, ValueError):  # nothing stands there, or it does not say
        parameters |= signature(found := import_path(owner)).parameters
        known = add_arguments(ArgumentParser(exit_on_error=False), found, "x")
    given = [*parameters][:num_given]
    if name in given:
        giver = short_key(path.rpartition(".init_args.")[0])
        stated = name not in BUILT_LATER and f"{giver}.{name}" in map(short_key, flatten(config))
        how = f"write {giver}.{name}" if stated else "leave it out"
        return f"{key}: {owner} gets its '{name}' from {giver}, which builds it; {how}"
    known = [item for item in known if item not in (*given, name)]
    advice, typed = "", short_key(path)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        advice = f"; what it passes on to others stands under dict_kwargs: dict_kwargs: {{{option}: ...}}"
        advice += f", or --{typed}.dict_kwargs.{option} VALUE" if typed else ""
    elsewhere = _elsewhere(typed, option, config, owner)
    near = ("" if elsewhere.endswith(f".{option}?)") else did_you_mean(name, known) + advice) or elsewhere
    takes = f"; it takes {listed(known)}" if known and not near else ""
    return f"{key}: {owner} takes no '{name}'{near}{takes}"


def _with_element(key: str, config: Config, owner: str = "", value: str = "") -> str:
    """Return a key with the elements of lists and mappings in it, which the parser leaves out.

    Its owner is the class `owner`, or what stands there is written as `value`; where it is not found, the key stays.
    """
    stated, element = flatten(config), r"(?:\.[^.]+)?\.init_args\."
    pattern = re.compile(f"({re.escape(key).replace(re.escape('.init_args.'), element)}(?:\\.[^.]+)?)(?:\\..*)?")
    for match in filter(None, map(pattern.fullmatch, stated)):
        path = match[1].rpartition(".init_args.")[0]
        written = str(stated.get(f"{path}.class_path") if owner else stated[match[0]])
        if written in (value, value.replace("None", "null"), owner, owner.rpartition(".")[2]):  # a class by its name
            return match[1]
    return key


def _elsewhere(path: str, option: str, config: Config, wrong_owner: str = "") -> str:
    """Return " (did you mean x?)" for a key below a path that is or ends like an option, or an empty string.

    It is none of the class `wrong_owner`, where it was written.
    """
    stated = flatten(config)
    classes = {part: import_path(stated.get(f"{part}.class_path", stated.get(part))) for part in ("data", "model")}
    owners = [("trainer", Trainer), *((part, found) for part, found in classes.items() if found)]
    keys = [short_key(key) for key in stated]
    keys += [f"{part}.{name}" for part, found in owners for name in signature(found).parameters]
    written = [path, *(short_key(key) for key, value in stated.items() if value == wrong_owner)]
    wrong = tuple(f"{place}.{option}.".removeprefix(".") for place in written)
    keys = [key for key in keys if key.startswith(path) and not f"{key}.".startswith(wrong)]
    near = [key for key in (*all_options(), *TOP_LEVEL) if option in key.split("_")] if not path else []
    near += [match[0] for key in keys if (match := re.match(rf".*?\.{re.escape(option)}(?=\.|$)", key))]
    near += [key for key in keys if option in key.rpartition(".")[2].split("_")]
    by_name = {key.rpartition(".")[2]: key for key in keys}
    return f" (did you mean {near[0]}?)" if near else did_you_mean(option, by_name, by_name)


def _wrong_type(report: str, path: str, config: Config) -> str:
    """Name the value and the types it may have; where the report has neither, keep its first lines."""
    where = f"{path}: " if path else ""
    inner = report[max((key.start() for key in KEY.finditer(report)), default=0) :]
    word = named[1] if (named := re.search(r"Expected a dot import path string: (.*)", inner)) else None
    got = r"(.*?)(?:\. Got value: Namespace.*)?$"
    if found := re.search(r"Given value: {'class_path': '(\w+\.[\w.]+)'", inner):
        try:
            importlib.import_module(found[1].rpartition(".")[0])
        except Exception as error:  # whatever stands in the file
            return f"{where}{found[1]} cannot be imported: {type(error).__name__}: {error}"
    for types in (r"Subtypes: \[(.*)\](?:.|\n)*?Given", r"(?:Expected an?|Not a valid subclass of) (.*?)\. Got"):
        if (found := re.search(f"{types} value: {got}", inner, re.MULTILINE)) and found[2] != str({"class_path": word}):
            expected, key = _readable(found[1]), _with_element(path, config, value=found[2])
            if found[2].startswith("{") and "class_path" not in found[2] and "dict" not in expected:
                return f"{key}: no class stands here that takes {found[2][:200]}; write its class_path too"
            return f"{key}: expected {expected}, got {found[2][:200]}{'; write package.module.Class' if word else ''}"
    if word:
        return f"{where}'{word}' is no import path; write package.module.Class"
    if found := re.search(r"Multiple subclasses with name .*", inner):
        return f"{where}{found[0]}"
    return "\n".join(line for line in report.splitlines() if line.strip())[:800]


def _readable(types: str) -> str:
    """Say "int or null" for "<class 'int'>, <class 'NoneType'>"."""
    types = re.sub(r"<class '([^']+)'>", r"\1", types).replace("NoneType", "null")
    types = re.sub(r"(?:\w+\.)+(\w+)", r"\1", types)
    types = re.sub(r"Literal\[([^\]]*)\]", r"\1", types)
    return " or ".join(types.rsplit(", ", 1)) if types.endswith("null") else types
