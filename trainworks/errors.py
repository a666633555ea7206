"""Errors that are shown without a traceback, and parts of their messages."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


class UsageError(ValueError):
    """A user's mistake: shown as one message, exit code 2, no traceback."""


class RunFailure(Exception):
    """A failure that its message explains: shown as one message, exit code 1, no traceback."""


def did_you_mean(word: str, known: Iterable[str], shown: Mapping[str, str] | None = None) -> str:
    """Return " (did you mean x?)" for the most similar of `known`, as `shown` displays it, or an empty string."""
    near = difflib.get_close_matches(word, sorted(known), 1, 0.7)
    return f" (did you mean {(shown or {}).get(near[0], near[0])}?)" if near else ""


def no_such_file(path: Path) -> str:
    """Return "no such file", with the most similar name in its folder."""
    return "no such file" + did_you_mean(path.name, [file.name for file in path.absolute().parent.glob("*")])


def listed(names: Sequence[str], shown: int = 10) -> str:
    """Return the first `shown` names as text, and how many more there are."""
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
