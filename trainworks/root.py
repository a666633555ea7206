"""Where the library stands: the project around it. Nothing heavy is imported here."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

LIBRARY = Path(__file__).absolute().parent
ROOT = LIBRARY.parent  # the folder of train.py, configs/ and the project's own package
OWN = "src"  # the package of the project's own code
SCHEMA = ROOT / "configs" / "schema.json"  # of configurations, for editors and shells


def example_command() -> str:
    """Return a command for a message, with a config that is there."""
    names = sorted({file.stem for file in (ROOT / "configs").glob("*.yaml")} - {"defaults"})
    name = "digits" if "digits" in names or not names else names[0]
    return f"python train.py --config configs/{name}.yaml"


def own_modules() -> list[str]:
    """Return the names of the modules of the project's own package."""
    files = sorted((ROOT / OWN).rglob("*.py"))
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]


def import_all(modules: list[str]) -> Iterator[str]:
    """Import modules, and yield a line for each that cannot be imported."""
    for name in modules:
        try:
            import_module(name)
        except Exception as error:  # of a package that is not installed, or a module that is being written
            yield f"left out {name}: {type(error).__name__}: {error}"
