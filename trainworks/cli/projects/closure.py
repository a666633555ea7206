"""Which files of src/ a config or a test needs, found from its imports and class paths without importing anything."""

import ast
import re
from functools import cache
from pathlib import Path

from trainworks.root import OWN

PACKAGES = (OWN, "tests")
CLASS_PATH = re.compile(rf"(?<![\w.])(?:{'|'.join(PACKAGES)})(?:\.\w+)+")


def imported(file: Path) -> list[str]:
    """Return the import paths in a Python file, with the imported names, also those within functions."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    found = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def files_of(paths: list[str], root: Path) -> set[str]:
    """Return the files of the project in `root` that import paths lead to, relative to `root`."""
    return {file for path in paths if (file := _file_of(path, root))}


def closure(files: set[str], root: Path) -> set[str]:
    """Return files of src/ with all files that they import, and the `__init__.py` of their packages."""
    found, pending = set[str](), set(files)
    while pending:
        found.add(file := pending.pop())
        pending |= files_of(imported(root / file), root) - found
    packages = {parent / "__init__.py" for file in found for parent in Path(file).parents if parent != Path(".")}
    return found | {package.as_posix() for package in packages}


def needed(config: Path, root: Path) -> set[str]:
    """Return all files of src/ that the class paths of a config need."""
    return closure(files_of(CLASS_PATH.findall(config.read_text(encoding="utf-8")), root), root)


@cache
def _file_of(path: str, root: Path) -> str | None:
    """Return the file of the module of src/ or tests/ that an import path leads to, or None."""
    parts = path.split(".")
    for length in range(len(parts), 1, -1):
        file = Path(*parts[:length]).with_suffix(".py")
        if parts[0] in PACKAGES and (root / file).is_file():
            return file.as_posix()
    return None
