"""What a command states of itself, and where commands are found. Nothing heavy is imported here."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from trainworks.errors import UsageError, did_you_mean

FOLDER = Path(__file__).with_name("commands")
BOOLEAN = ("true", "false")


@dataclass(frozen=True)
class Option:
    """An option of a command, typed as `--name VALUE`."""

    name: str  # without the dashes
    help: str  # what it is for
    metavar: str = "NAME"  # what stands after it, as the help shows it
    choices: tuple[str, ...] = ()  # the values that it may have; any text if there are none
    minimum: int | None = None  # the least value of an option that is a whole number; None for a text
    required: bool = False  # whether the command needs it
    pattern: str = ""  # of its values, for which `metavar` has examples; any text if empty

    def check(self, text: str) -> None:
        """Refuse a value that the option cannot have."""
        if self.minimum is not None and (not text.isdecimal() or int(text) < self.minimum):
            raise UsageError(f"--{self.name} must be a number of at least {self.minimum}, got {text}")
        if self.choices and text not in self.choices:
            raise UsageError(f"--{self.name} must be {' or '.join(self.choices)}, got {text}")
        if self.pattern and not re.fullmatch(self.pattern, text):
            raise UsageError(f"--{self.name} must be like {self.metavar.replace('|', ' or ')}, got {text}")


TRUST = Option("trust", "whether checkpoints may hold objects, which can run code when they are read", choices=BOOLEAN)
CHECKPOINT_OPTIONS = (  # of each command that runs a checkpoint
    Option("run_name", "name of the run whose best checkpoint is taken; the newest run by default"),
    Option("ckpt_path", "the checkpoint", "FILE"),
    TRUST,
)


@dataclass(frozen=True)
class Command:
    """One command of `python train.py`, stated by the file of its name in commands/ as `COMMAND`."""

    run: Callable[[Any], Any]  # gets what the command needs, and returns the exit code where that is no trainer
    summary: str  # what it does, one line of the help
    needs: Literal["words", "configuration", "trainer"]  # a `CommandLine` alone, a `Request`, a `Session`
    options: tuple[Option, ...] = ()  # beside the keys of the configuration
    positional: str = ""  # its arguments without an option, such as "RUN ..."; none if empty
    # what a command with a trainer writes into: a "new" run or, with --resume, one that it continues; the run that is
    # "evaluated"; the run that is gone through again ("replayed"); a "temporary" folder
    directory: Literal["new", "evaluated", "replayed", "temporary"] | None = None
    config_optional: bool = False  # whether a command that needs a configuration can do something without one

    def option(self, name: str) -> Option | None:
        """Return the option of a name, None if the command takes none."""
        return next((option for option in self.options if option.name == name), None)


def command_names() -> list[str]:
    """Return the names of all commands."""
    return sorted(file.stem for file in FOLDER.glob("[!_]*.py"))


def find_command(name: str | None) -> Command:
    """Return a command by its name; without a name the one that trains and then tests."""
    if name is not None and name not in (known := command_names()):
        raise UsageError(f"unknown command '{name}'{did_you_mean(name, known)}; write one of {', '.join(known)}")
    module: Any = import_module(f"trainworks.cli.commands.{name or 'fit'}")
    command: Command = module.FIT_AND_TEST if name is None else module.COMMAND
    return command


def commands_with(option: str) -> list[str]:
    """Return the names of the commands that take an option."""
    return [name for name in command_names() if find_command(name).option(option)]


def all_options() -> dict[str, Option]:
    """Return the options of all commands by name; where several commands have one, that of the first."""
    options = [option for name in reversed(command_names()) for option in find_command(name).options]
    return {option.name: option for option in options}
