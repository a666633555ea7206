"""Which files of src/ a configuration or a test needs: computed from imports and class paths, nothing is imported."""

import ast
import re
from functools import cache
from pathlib import Path

from trainworks.root import OWN

PATH = re.compile(rf"\b{OWN}(?:\.\w+)+")


def imported(file: Path) -> list[str]:
    """Return the paths that a Python file imports, names included, also within functions."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    found = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def files_of(paths: list[str], root: Path) -> set[str]:
    """Return the files of a project that import paths lead to, each relative to the project's folder `root`."""
    return {file for path in paths if (file := _file_of(path, root))}


def closure(files: set[str], root: Path) -> set[str]:
    """Return files of src/ with all that they import, and the `__init__.py` of their packages."""
    found, left = set[str](), set(files)
    while left:
        found.add(file := left.pop())
        left |= files_of(imported(root / file), root) - found
    packages = {parent / "__init__.py" for file in found for parent in Path(file).parents if parent != Path(".")}
    return found | {package.as_posix() for package in packages}


def needed(config: Path, root: Path) -> set[str]:
    """Return all files of src/ that the class paths of a configuration need."""
    return closure(files_of(PATH.findall(config.read_text(encoding="utf-8")), root), root)


@cache
def _file_of(path: str, root: Path) -> str | None:
    """Return the file of the module that an import path of src/ leads to; None if there is none."""
    parts = path.split(".")
    for count in range(len(parts), 1, -1):
        place = Path(*parts[:count]).with_suffix(".py")
        if parts[0] == OWN and (root / place).is_file():
            return place.as_posix()
    return None
