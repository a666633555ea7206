"""What `--help` prints: what may be typed, and what the classes of a configuration take."""

import inspect
import re
import textwrap
from functools import partial
from typing import Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from trainworks.cli.command import Command, command_names, find_command
from trainworks.cli.command_line import TOP_LEVEL, CommandLine
from trainworks.cli.config import apply_overrides
from trainworks.cli.defaults import merged
from trainworks.errors import UsageError
from trainworks.runs.class_paths import BUILT_LATER, import_path
from trainworks.runs.yaml_files import Config, flatten, load_file, short_key

USUAL = (  # options of the trainer
    *("accelerator", "devices", "strategy", "precision", "max_epochs", "max_steps", "max_time", "limit_train_batches"),
    *("check_val_every_n_epoch", "accumulate_grad_batches", "gradient_clip_val", "deterministic"),
)
ABOUT = "Train on a configuration. Any of its keys can be given as --key value, without class_path and init_args."
MORE = (
    ("--config FILE --help", "the keys of that file's model and data, and the usual options of the trainer"),
    ("--trainer.help", "all options of the trainer"),
    ("--config FILE --model.net.help", "what the class under a key takes, here that of model.net"),
    ("--model.optimizer.help torch.optim.SGD", "what any class takes"),
    ("COMMAND --help", "what a command takes"),
    ("--config FILE --print_config", "the whole configuration, with all defaults, in place of the command"),
)
ARGUMENT = re.compile(r"(?m)^  (--[^\s,]+)(?: \S+)*(.*\n(?: {20,}.*\n?)*)")  # in the text that argparse writes
WIDTH = 118  # characters of a line


def print_help(line: CommandLine) -> int:
    """Print what was asked for: all that may be typed, one command, or one class; return 0."""
    key, *named = line.help or [""]
    config = apply_overrides(merged([(path, load_file(path)) for path in line.files]), line.overrides)
    if key:
        print(_class_help(key, _class_of(key, config, *named), {} if named else config))
        return 0
    command, takes_config = line.command, line.command.needs != "words"
    ending = "--config FILE [--config FILE ...] [--key value ...]" if takes_config else "[--option value ...]"
    print(" ".join(filter(None, ["usage: python train.py", line.name or "[COMMAND]", command.positional, ending])))
    print(f"\n{command.summary if line.name else ABOUT}")
    if takes_config and line.files:
        print("\n" + _configuration_help(config))
    print(_options_help(command))
    if line.name is None:
        commands = [("(none)", command.summary), *((name, find_command(name).summary) for name in command_names())]
        print("\ncommands:\n" + "\n".join(_row(*item) for item in commands))
    if takes_config:
        print("\nmore:\n" + "\n".join(_row(*item) for item in MORE))
    return 0


def _configuration_help(config: Config) -> str:
    """Explain the keys of a configuration's model and data, and the usual ones of the trainer; name its callbacks."""
    parts = [_class_help(key, _class_of(key, config), config) for key in ("model", "data") if config.get(key)]
    parts.append(_class_help("trainer", _class_of("trainer", config), config, USUAL))
    parts.append("\n".join(_row(f"--{key}", TOP_LEVEL[key]) for key in ("experiment", "seed_everything", "tf32")))
    callbacks = {key: path for key, path in _stated(config).items() if re.fullmatch(r"callbacks\.[^.]+", key)}
    rows = [_row(f"--{key}.help", str(path)) for key, path in callbacks.items()]
    return "\n\n".join([*parts, "\n".join(["callbacks:", *rows])])


def _options_help(command: Command) -> str:
    options = [
        (f"--{item.name} {'|'.join(item.choices) or item.metavar}", item.help + " (required)" * item.required)
        for item in command.options
    ]
    return "\n".join(["\noptions:", *(_row(*option) for option in options)]) if options else ""


def _class_of(key: str, config: Config, name: str | None = None) -> Any:
    """Return the class or function of a name, else the one that stands under a key; if there is none, a UsageError."""
    if key == "trainer":
        from lightning.pytorch import Trainer  # takes seconds, and is not needed for what a command takes

        return Trainer
    path = name or _stated(config).get(key)
    if callable(found := import_path(path)):
        return found
    what = f"there is no {path}" if path else "no class stands there"
    if found is not None:
        what = f"{path} is no class"
    raise UsageError(f"--{key}.help: {what}; write --{key}.help CLASS_PATH, or give the --config that states it")


def _stated(config: Config) -> dict[str, Any]:
    """Return what a configuration states, by the key that may be typed; of a class its path."""
    return {short_key(long): value for long, value in flatten(config).items() if value not in (None, {})}


def _class_help(key: str, found: Any, config: Config, chosen: tuple[str, ...] = ()) -> str:
    """Explain a class or function under a key, and its arguments, all or those chosen, with what `config` states."""
    wide: Any = partial(DefaultHelpFormatter, width=10_000)  # leaves the wrapping to `_row`
    parser = ArgumentParser(add_help=False, usage="", formatter_class=wide)
    add_arguments(parser, found, key)
    rows, stated = [], _stated(config)
    for flag, text in ARGUMENT.findall(parser.format_help()):
        name = flag.removeprefix(f"--{key}.")
        if name != flag and not flag.endswith(".help") and (not chosen or name in chosen):
            if name in BUILT_LATER and "(required" in text:
                continue
            text = re.sub(r",\s+known\s+subclasses:[^)]*", "", text)  # a long list
            if (value := stated.get(flag.removeprefix("--"))) is not None:
                text = re.sub(r"(, default: [^)]*)?\)$", "", text.rstrip()) + f", here: {value})"
            rows.append(_row(flag, " ".join(text.split())))
    about = (inspect.getdoc(found) or "").partition("\n\n")[0].replace("\n", " ")
    return "\n".join([f"--{key}: {found.__module__}.{found.__qualname__}", *([f"  {about}"] if about else []), *rows])


def add_arguments(parser: ArgumentParser, found: Any, key: str) -> list[str]:
    """Add the arguments of a class or function under a key, also those behind its **kwargs; return their names."""
    add = parser.add_class_arguments if isinstance(found, type) else parser.add_function_arguments
    return [name.removeprefix(f"{key}.") for name in add(found, key, fail_untyped=False)]


def _row(name: str, text: str) -> str:
    """Return a name and what it means, in two columns."""
    lines = textwrap.wrap(text, WIDTH - 32, break_on_hyphens=False) or [""]
    first = f"  {name:<29} {lines.pop(0)}" if len(name) < 30 else f"  {name}"
    return "\n".join([first, *(f"{'':<32}{line}" for line in lines)])
