"""The project's own code. Its packages hand out their names lazily, so a run imports what it uses and no more."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazy(package: str, **modules: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return the `__getattr__`, `__dir__` and `__all__` of a package that imports a module when it is asked for.

    Args:
        package: Its `__name__`.
        modules: By module, the names that the package hands out, with blanks between them.
    """
    modules_by_name = {name: module for module, names in modules.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in modules_by_name:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{modules_by_name[name]}"), name)

    return get, lambda: list(modules_by_name), list(modules_by_name)
