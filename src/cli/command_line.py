"""What was typed, sorted. Nothing heavy is imported here."""

import re
from dataclasses import dataclass, field

from src.errors import UsageError, did_you_mean

COMMANDS = ("fit", "validate", "test", "predict", "check", "repeat", "replay", "find_batch_size", "merge")
EXAMPLE = "python train.py --config configs/digits.yaml"


@dataclass
class CommandLine:
    """The words after `train.py`, sorted.

    Args:
        command: One of `COMMANDS`, or None for fit and then test.
        files: Every `--config`, in order.
        overrides: Every other `--key value`, in order.
        help: What help was asked for, as arguments of the parser; empty if none.
        print_config: Whether to print the resulting configuration and stop.
    """

    command: str | None = None
    files: list[str] = field(default_factory=list)
    overrides: list[tuple[str, str]] = field(default_factory=list)
    help: list[str] = field(default_factory=list)
    print_config: bool = False

    @classmethod
    def parse(cls, words: list[str]) -> "CommandLine":
        """Sort the words.

        Raises:
            UsageError: If one is unknown or lacks its value.
        """
        if not words:
            raise UsageError(f"nothing to do; write {EXAMPLE} (or --help)")
        line, words = cls(), list(words)
        if not words[0].startswith("-"):
            line.command = words.pop(0)
            if line.command not in COMMANDS:
                near = did_you_mean(line.command, COMMANDS)
                raise UsageError(f"unknown command '{line.command}'{near}; write one of {', '.join(COMMANDS)}")
        while words:
            line._take(words)
        return line

    def _take(self, words: list[str]) -> None:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if word in ("-h", "--help") or re.fullmatch(r"--[\w.]+\.help", name):
            self.help = ["--help"] if word == "-h" else [word]
            if "." in word and not equals and words and not words[0].startswith("-"):
                self.help.append(words.pop(0))
        elif word == "--print_config":
            self.print_config = True
        elif not re.fullmatch(r"-c|--[A-Za-z_][\w.]*\+?", name):
            raise UsageError(f"unexpected '{word}'; options are written --key value, for example {EXAMPLE}")
        elif not equals and (not words or words[0].startswith("--")):
            raise UsageError(f"{name} needs a value; write {name} VALUE")
        else:
            value = value if equals else words.pop(0)
            if name in ("-c", "--config"):
                self.files.append(value)
            else:
                self.overrides.append((name.removeprefix("--"), value))
