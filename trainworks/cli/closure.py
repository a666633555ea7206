"""Which files of src/ a configuration or a module needs: computed from imports and class paths, nothing is imported."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "configs/schema.json"  # of configurations, for editors and shells
PATH = re.compile(r"\bsrc(?:\.\w+)+")


@cache
def imported(file: Path) -> list[str]:
    """Return the paths that a Python file imports, names included, also within functions."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    found = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def imports_of(file: Path) -> list[str]:
    """Return those paths of them that lead into src/; `lazy`, which stands in src/__init__.py, is no room's."""
    return [name for name in imported(file) if name.startswith("src.") and name != "src.lazy"]


@cache
def handed_out(package: Path) -> dict[str, str]:
    """Return the names that a lazy package hands out, and the module of each."""
    calls = [node for node in ast.walk(ast.parse((package / "__init__.py").read_text())) if isinstance(node, ast.Call)]
    words = [(word.arg, word.value) for call in calls if ast.unparse(call.func) == "lazy" for word in call.keywords]
    return {name: str(module) for module, value in words for name in str(ast.literal_eval(value)).split()}


@cache
def file_of(path: str) -> str | None:
    """Return the file of the module that an import path of src/ leads to; None if there is none.

    Args:
        path: Such as `src.models.classifier.ClassifierModule` or `src.models.classifier.ClassifierModule`.
    """
    parts = path.split(".")
    for count in range(len(parts), 1, -1):
        place = ROOT.joinpath(*parts[:count])
        if place.with_suffix(".py").is_file():
            return str(place.with_suffix(".py").relative_to(ROOT))
        if place.is_dir() and (place / "__init__.py").is_file() and count < len(parts):
            module = handed_out(place).get(parts[count])
            return str((place / f"{module}.py").relative_to(ROOT)) if module else None
    return None


def files_of(paths: list[str]) -> set[str]:
    """Return the files that import paths lead to."""
    return {file for path in paths if (file := file_of(path))}


def closure(files: set[str]) -> set[str]:
    """Return files of src/ with all that they import."""
    found, left = set[str](), set(files)
    while left:
        found.add(file := left.pop())
        left |= files_of(imports_of(ROOT / file)) - found
    return found


def needed(config: Path) -> set[str]:
    """Return all files of src/ that the class paths of a configuration need."""
    return closure(files_of(PATH.findall(config.read_text(encoding="utf-8"))))
