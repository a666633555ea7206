"""Checkpoints as files and folders: how they are replaced in one step, and trusted. Nothing heavy is imported here."""

import contextlib
import os
import shlex
import shutil
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from trainworks.errors import UsageError

INDEX_FILE = ".metadata"  # every sharded checkpoint has this file
TRUSTED: ContextVar[bool | None] = ContextVar("trusted", default=None)  # whether checkpoints may hold objects


@contextlib.contextmanager
def trusting(granted: bool) -> Iterator[None]:
    """Let checkpoints hold objects in a block, or forbid it: then no configuration and no file in it can allow it."""
    if granted and TRUSTED.get() is False:
        raise UsageError("no file can grant trust; type --trust true, or load_model(path, trust=True) in Python")
    token = TRUSTED.set(granted)
    try:
        yield
    finally:
        TRUSTED.reset(token)


def is_sharded(path: Path) -> bool:
    """Whether a path is a sharded checkpoint, which is a folder."""
    return (path / INDEX_FILE).is_file()


def is_checkpoint(path: Path) -> bool:
    """Whether a checkpoint of either kind stands at a path."""
    return path.is_file() or is_sharded(path)


def replace(new: Path, target: Path) -> None:
    """Move a file or folder to the path of another; where one is a folder, `recover` repairs what a kill leaves."""
    old = target.with_name(f"{target.name}.old")
    if is_moved := target.exists() and (new.is_dir() or target.is_dir()):
        remove(old)
        target.rename(old)
    new.replace(target)
    sync_folder(target.parent)
    if is_moved:
        remove(old)


def write_in_one_step(path: Path, text: str) -> None:
    """Write a text file, which after a kill has its old text or the new one."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="")
    os.replace(temporary, path)


def recover(folder: Path) -> None:
    """Remove what is only half written, and move back what `replace` had moved away when it was killed."""
    for leftover in folder.glob("*.tmp"):
        remove(leftover)
    for old in folder.glob("*.old"):
        target = old.with_suffix("")
        if target.exists():
            remove(old)
        else:
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                old.rename(target)


def remove(path: Path) -> None:
    """Remove the file or folder at a path, if there is one."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power failure; Windows has no way to."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def shown_path(path: str | Path) -> str:
    """Shorten a path below the current folder, and quote spaces in it, so that it can be copied into a command."""
    shown = os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)
    return shlex.quote(shown) if " " in shown else shown
