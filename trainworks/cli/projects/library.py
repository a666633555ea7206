"""The library as a folder of a project: copied whole, with checksums that tell whether somebody edited it."""

import hashlib
import re
import shutil
from pathlib import Path

from trainworks.errors import UsageError

NAME = "trainworks"
CHECKSUMS = "CHECKSUMS"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "tests", CHECKSUMS)  # the library's own tests stay in the template


def copy_library(template: Path, target: Path) -> None:
    """Copy the library of a template to a new folder, and write the checksums of its files."""
    shutil.copytree(template / NAME, target, ignore=LEFT_OUT)
    rows = "".join(f"{value}  {name}\n" for name, value in checksums(target).items())
    (target / CHECKSUMS).write_text(rows, encoding="utf-8")


def checksums(library: Path) -> dict[str, str]:
    """Return the SHA-256 of each file, by its path; line endings, which git may change, do not count."""
    files = [file for file in sorted(library.rglob("*")) if file.is_file()]
    names = {file.relative_to(library).as_posix(): file for file in files if "__pycache__" not in file.parts}
    names = {name: file for name, file in names.items() if name != CHECKSUMS and not name.startswith("tests/")}
    return {name: hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest() for name, file in names.items()}


def recorded(library: Path) -> dict[str, str]:
    """Return the checksums that were written when a project took over its library."""
    file = library / CHECKSUMS
    if not file.is_file():
        raise UsageError(f"{library} has no {CHECKSUMS}: this is no project that `new` made")
    rows = [line.split("  ", 1) for line in file.read_text(encoding="utf-8").splitlines()]
    return {name: value for value, name in rows}


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return the names of the files that are not alike, or that only one of two libraries has."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def version_of(folder: Path) -> str:
    """Return the version of the library in a folder that holds it; a UsageError if there is none."""
    file = folder / NAME / "__init__.py"
    found = (
        re.search(r'^__version__ = "(.+)"$', file.read_text(encoding="utf-8"), re.MULTILINE) if file.is_file() else None
    )
    if found is None:
        raise UsageError(f"--from {folder}: no template there; write the folder of a clone, which holds {NAME}/")
    return found[1]


def news(changelog: str, before: str, after: str) -> str:
    """Return the sections of a changelog about the versions after `before`, up to `after`."""
    sections = re.split(r"(?m)^(?=## )", changelog)
    numbers = {section: re.match(r"## v?([\d.]+)", section) for section in sections}
    wanted = [s for s, number in numbers.items() if number and _order(before) < _order(number[1]) <= _order(after)]
    return "".join(wanted).strip()


def _order(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
