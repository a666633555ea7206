"""Where the library stands: the project around it. Nothing heavy is imported here."""

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
