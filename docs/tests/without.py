"""Delete a task as a cloner does, in a copy, and see that nothing else turns red.

python -m docs.tests.without configs/gan.yaml [...]     each by itself; without arguments, every config but the digits'

What goes is computed: the config, those modules of src/ that no other config and no other module needs, and the tests
that are called like them. Nothing is edited. Then the quick tests of the template and of the library run in the copy;
those of the pages do not, since the pages name what was deleted.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from trainworks.cli.projects.closure import files_of, imported, needed
from trainworks.root import OWN, ROOT

KEPT = "digits"  # the config that the tests of other things train
SUITES = ("tests", "trainworks/tests")


def only_of(config: Path) -> list[str]:
    """Return the files of src/ that go with a configuration."""
    kept = {file for other in (ROOT / "configs").rglob("*.yaml") if other != config for file in needed(other, ROOT)}
    own = needed(config, ROOT) - kept
    files = {file.relative_to(ROOT).as_posix() for file in (ROOT / OWN).rglob("*.py")}
    used = {name for file in files - own for name in files_of(imported(ROOT / file), ROOT)}
    return sorted(name for name in own - used if not name.endswith("__init__.py"))


def delete(config: Path, copy: Path) -> list[str]:
    """Delete a configuration and what goes with it in a copy of the project; return what was deleted."""
    gone = [config.relative_to(ROOT).as_posix(), *only_of(config)]
    tests = [Path("tests", *Path(file).parts[1:]).with_name(f"test_{Path(file).name}") for file in gone[1:]]
    gone += [test.as_posix() for test in tests if (copy / test).exists()]
    for file in gone:
        (copy / file).unlink()
    return gone


def main(configs: list[str]) -> int:
    """Delete each task in a copy of its own and run the quick tests there."""
    code = 0
    for config in [Path(name).resolve() for name in configs] or sorted((ROOT / "configs").glob("*.yaml")):
        if config.stem in (KEPT, "defaults"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "project"
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "logs", "data", "__pycache__"))
            print(f"\n{config.stem}: without {', '.join(delete(config, copy))}", flush=True)
            words = [sys.executable, "-m", "pytest", "-q", *SUITES]
            done = subprocess.run(words, cwd=copy, capture_output=True, text=True)
            print("\n".join([line for line in done.stdout.splitlines() if "FAILED" in line or "ERROR" in line]))
            print(done.stdout.strip().splitlines()[-1], flush=True)
            code = code or done.returncode
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
