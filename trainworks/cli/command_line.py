"""What was typed, sorted. Nothing heavy is imported here."""

import re
from dataclasses import dataclass, field

from trainworks.cli.command import Command, commands_with, find_command
from trainworks.errors import UsageError, did_you_mean
from trainworks.root import example_command

TOP_LEVEL = {  # keys of a configuration, and what they are
    "experiment": "Its name; that of the first file by default.",
    "seed_everything": "Seed of all generators.",
    "tf32": "Whether float32 may be TF32 on a GPU, faster.",
    "trainer": "Options of Lightning's Trainer.",
    "callbacks": "Callbacks by name, in the order they run. configs/defaults.yaml and the library state some; add your "
    "own under a new name; null switches one off. Lightning's list trainer.callbacks works beside it.",
    "model": "The LightningModule.",
    "data": "The LightningDataModule.",
}


@dataclass
class CommandLine:
    """The words after `train.py`, sorted."""

    typed: list[str]  # all of them
    name: str | None  # of the command; None for fit and then test
    command: Command
    files: list[str] = field(default_factory=list)  # of every --config, in order
    options: dict[str, str] = field(default_factory=dict)  # those of the command, by name
    overrides: list[tuple[str, str]] = field(default_factory=list)  # keys of the configuration, and their new values
    help: list[str] | None = None  # the key that help was asked for, and the class, if any; None if it was not
    print_config: bool = False  # instead of carrying out the command
    positional: list[str] = field(default_factory=list)  # arguments without an option, such as runs to compare

    @classmethod
    def parse(cls, typed: list[str]) -> "CommandLine":
        """Sort the words; what the command does not take is a UsageError."""
        if not typed:
            raise UsageError(f"nothing to do; write {example_command()} (or --help)")
        name = None if typed[0].startswith("-") else typed[0]
        if name and name.endswith((".yaml", ".yml")):
            raise UsageError(f"unexpected '{name}'; write --config {name}")
        line = cls(typed, name, find_command(name))
        left = typed[len([name] if name else []) :]
        while left:
            line._take(left)
        for option in line.command.options if line.help is None else ():
            if option.required and option.name not in line.options:
                raise UsageError(f"{name} needs --{option.name} {option.metavar}, {option.help}")
        return line

    @property
    def trains(self) -> bool:
        """Whether the command trains and keeps what it trained."""
        return self.command.directory == "new"

    @property
    def evaluates(self) -> bool:
        """Whether the command runs a checkpoint over a part of the data."""
        return self.command.directory == "evaluated"

    @property
    def is_trusting(self) -> bool:
        """Whether checkpoints may hold objects."""
        return self.options.get("trust") == "true"

    @property
    def numbers(self) -> dict[str, int]:
        """The options that are whole numbers, by name."""
        numbers = [option.name for option in self.command.options if option.minimum is not None]
        return {name: int(self.options[name]) for name in numbers if name in self.options}

    def _take(self, left: list[str]) -> None:
        """Sort the next word, with its value, out of those that are left."""
        word = left.pop(0)
        flag, equals, value = word.partition("=")
        key = "config" if flag == "-c" else flag.removeprefix("--")
        if word in ("-h", "--help") or re.fullmatch(r"--[\w.]+\.help", flag):
            self.help = [flag.removeprefix("--").removesuffix("help").removesuffix(".").removeprefix("-h")]
            if self.help != [""] and (equals or (left and not left[0].startswith("-"))):
                self.help.append(value if equals else left.pop(0))
        elif self.command.positional and not word.startswith("-"):
            self.positional.append(word)
        elif word == "--print_config":
            self.print_config = True
        elif not re.fullmatch(r"-c|--[A-Za-z_][\w.]*\+?", flag):
            example = example_command()
            raise UsageError(f"unexpected '{word}'; options are written --key value after the command, as in {example}")
        elif not equals and (not left or left[0].startswith("--")):
            known = key == "config" or self.command.option(key) or _is_configured(key)
            raise UsageError(f"{flag} needs a value; write {flag} VALUE" if known else self._refusal(key))
        else:
            self._set(key, value if equals else left.pop(0))

    def _set(self, key: str, value: str) -> None:
        """Keep an option of the command or a key of the configuration; anything else is a UsageError."""
        option, takes_config = self.command.option(key), self.command.needs != "words"
        if key == "config" and (option or takes_config):
            self.files.append(value)
        elif option:
            option.check(value)
            self.options[key] = value
        elif takes_config and (_is_configured(key) or not commands_with(key)):
            self.overrides.append((key, value))
        else:
            raise UsageError(self._refusal(key))

    def _refusal(self, key: str) -> str:
        """Say that the command takes no such option, and which it takes or which commands do."""
        names = [option.name for option in self.command.options]
        what = f"{self.name or 'a training'} takes no --{key}"
        if near := did_you_mean(key, names, {name: f"--{name}" for name in names}):
            return what + near
        if self.command.needs != "words" and (takers := commands_with(key)):
            how = "; a training goes on with --resume auto" if self.trains and key == "ckpt_path" else ""
            return f"{what}; it belongs to {', '.join(takers)}{how}"
        return f"{what}; it takes {', '.join(f'--{name}' for name in names) or 'no options'}"


def _is_configured(key: str) -> bool:
    """Whether a key can only be one of a configuration."""
    return "." in key or key.removesuffix("+") in TOP_LEVEL
