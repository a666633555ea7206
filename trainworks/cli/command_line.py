"""What was typed, sorted. Nothing heavy is imported here."""

import re
from dataclasses import dataclass, field

from trainworks.errors import UsageError, did_you_mean
from trainworks.root import example_command

TRAINING, EVALUATING = (None, "fit"), ("validate", "test", "predict")
TRYING = ("find_batch_size", "find_lr")  # commands whose trainings are thrown away
WORDS = ("compare", "new", "add", "update")  # commands that take words without an option
SERIES = ("repeat", "sweep", *WORDS)  # commands that do without a trainer of their own
COMMANDS = ("fit", *EVALUATING, "check", *SERIES, "replay", *TRYING, "merge", "export", "schema")
OPTIONS: dict[str, tuple[str | None, ...]] = {  # that are no part of the configuration, and the commands that take them
    "run_name": (*TRAINING, *EVALUATING, "repeat", "sweep"),
    "ckpt_path": (*EVALUATING, "merge", "export"),
    "resume": (*TRAINING, "replay"),
    "num_folds": ("repeat",),
    "num_seeds": ("repeat", "sweep"),
    "num_best": ("sweep",),
    "sweep": ("sweep",),
    **dict.fromkeys(("sort_by", "mode"), ("compare",)),
    "batch": ("replay",),
    "input": ("predict",),
    "output": ("predict", "export", "compare", "schema"),
    "calibrate": ("validate",),
    **dict.fromkeys(("format", "latency"), ("export",)),
    **dict.fromkeys(("task", "like"), ("new",)),
    "from": ("add", "update"),
    **dict.fromkeys(("top_k", "probabilities", "draw", "flip"), ("predict",)),
}
LEAST = {"num_folds": 2, "num_seeds": 2, "num_best": 1, "batch": 0, "top_k": 1}  # of the options that are numbers
CHOICES = dict.fromkeys(("probabilities", "draw", "flip", "calibrate", "latency"), ("true", "false"))
CHOICES |= {"format": ("onnx", "pt2"), "mode": ("min", "max")}


@dataclass
class CommandLine:
    """The words after `train.py`, sorted."""

    command: str | None = None  # one of `COMMANDS`; None for fit and then test
    files: list[str] = field(default_factory=list)  # of every --config, in order
    options: dict[str, str] = field(default_factory=dict)  # every --key value that is one of `OPTIONS`
    overrides: list[tuple[str, str]] = field(default_factory=list)  # every other one: changes of the configuration
    help: list[str] = field(default_factory=list)  # that was asked for, as arguments of the parser
    print_config: bool = False  # and stop
    words: list[str] = field(default_factory=list)  # without an option: runs to compare, what to make or to add

    @classmethod
    def parse(cls, words: list[str]) -> "CommandLine":
        """Sort the words."""
        if not words:
            raise UsageError(f"nothing to do; write {example_command()} (or --help)")
        line, words = cls(), list(words)
        if not words[0].startswith("-"):
            line.command = words.pop(0)
            if line.command not in COMMANDS:
                near = did_you_mean(line.command, COMMANDS)
                raise UsageError(f"unknown command '{line.command}'{near}; write one of {', '.join(COMMANDS)}")
        while words:
            line._take(words)
        for key, text in line.options.items() if not line.help or line.files else ():
            if line.command not in OPTIONS[key]:
                takers = ", ".join(command for command in OPTIONS[key] if command)
                how = "; a training goes on with --resume auto" if line.trains and key == "ckpt_path" else ""
                raise UsageError(f"{line.command or 'fit'} takes no --{key}; it belongs to {takers}{how}")
            if key in LEAST and (not text.isdigit() or int(text) < LEAST[key]):
                raise UsageError(f"--{key} must be a number of at least {LEAST[key]}, got {text}")
            if text not in CHOICES.get(key, (text,)):
                raise UsageError(f"--{key} must be {' or '.join(CHOICES[key])}, got {text}")
            if line.command == OPTIONS[key][0] == "predict" and "input" not in line.options:
                raise UsageError(f"--{key} belongs to predict --input X, a file or folder to predict on")
        return line

    @property
    def trains(self) -> bool:
        """Whether the command trains and keeps what it trained, from the start or on."""
        return self.command in TRAINING

    @property
    def evaluates(self) -> bool:
        """Whether the command runs a checkpoint over a part of the data."""
        return self.command in EVALUATING

    @property
    def numbers(self) -> dict[str, int]:
        """The options that are numbers, by name."""
        return {key: int(self.options[key]) for key in LEAST if key in self.options}

    def _take(self, words: list[str]) -> None:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if word in ("-h", "--help") or re.fullmatch(r"--[\w.]+\.help", name):
            self.help = ["--help"] if word == "-h" else [word]
            if "." in word and not equals and words and not words[0].startswith("-"):
                self.help.append(words.pop(0))
        elif self.command in WORDS and not word.startswith("-"):
            self.words.append(word)
        elif word == "--print_config":
            self.print_config = True
        elif not re.fullmatch(r"-c|--[A-Za-z_][\w.]*\+?", name):
            raise UsageError(
                f"unexpected '{word}'; options are written --key value after the command, as in {example_command()}"
            )
        elif not equals and (not words or words[0].startswith("--")):
            raise UsageError(f"{name} needs a value; write {name} VALUE")
        else:
            key, value = name.removeprefix("--"), value if equals else words.pop(0)
            if key in ("-c", "config"):
                self.files.append(value)
            elif key in OPTIONS:
                self.options[key] = value
            else:
                self.overrides.append((key, value))
