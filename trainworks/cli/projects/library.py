"""The library's folder in a project: a full copy with checksums, which show whether a file was edited."""

import hashlib
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from trainworks.cli.command_line import CommandLine
from trainworks.errors import UsageError
from trainworks.root import ROOT

FOLDER = "trainworks"
CHECKSUMS = "CHECKSUMS"


def copy_library(template: Path, target: Path) -> None:
    """Copy the template's library to a new folder, and write the checksums of its files."""
    sums = checksums(template / FOLDER)
    copy_files(sums, template / FOLDER, target)
    rows = "".join(f"{value}  {name}\n" for name, value in sums.items())
    (target / CHECKSUMS).write_text(rows, encoding="utf-8")


def copy_files(names: Iterable[str], source: Path, target: Path) -> None:
    """Copy files from one folder to the same paths below another."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)


def checksums(library: Path) -> dict[str, str]:
    """Return the SHA-256 of each file but the tests, by path, with Unix's line endings, since git may change them."""
    files = {file.relative_to(library).as_posix(): file for file in sorted(library.rglob("*")) if file.is_file()}
    return {
        name: hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
        for name, file in files.items()
        if name != CHECKSUMS and not name.startswith("tests/") and "__pycache__" not in file.parts
    }


def recorded_checksums(library: Path) -> dict[str, str]:
    """Return the checksums that were written when the library was copied."""
    file = library / CHECKSUMS
    if not file.is_file():
        raise UsageError(f"{library} has no {CHECKSUMS}: this is no project that `new` made")
    rows = [line.split("  ", 1) for line in file.read_text(encoding="utf-8").splitlines()]
    return {name: value for value, name in rows}


def changed_files(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return the names of the files that differ between two libraries, or that only one of them has."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def version_of(folder: Path) -> str:
    """Return the version of the library in the folder of a template; a UsageError if it is none."""
    file = folder / FOLDER / "__init__.py"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    version = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if version is None:
        raise UsageError(f"--from {folder}: no template there; write the folder of a clone, which holds {FOLDER}/")
    return version[1]


def template_of(line: CommandLine) -> Path:
    """Return the clone of the template that --from names; anything else is a UsageError."""
    template = Path(line.options["from"])
    version_of(template)
    if template.resolve() == ROOT.resolve():
        raise UsageError(f"--from {template} is this folder; {line.name} takes from a clone of the template")
    return template
