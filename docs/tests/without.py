"""Delete a task as a cloner does, in a copy, and see that nothing else turns red.

python -m docs.tests.without configs/gan.yaml [...]     each by itself; without arguments, every config but the digits'

What goes is computed: the config, those modules of src/models and src/datamodules that no other config and no other
module needs, their lines in the packages' `__init__.py`, and the tests that are called like them.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from trainworks.cli.closure import ROOT, files_of, imports_of, needed

KEPT = "digits"  # what the tests of everything else train
YOURS = ("src/models/", "src/datamodules/")


def only_of(config: Path) -> list[str]:
    """Return the files of models and datamodules that go with a configuration."""
    others = [other for other in (ROOT / "configs").rglob("*.yaml") if other != config]
    kept = {file for other in [*others, ROOT / "trainworks/defaults.yaml"] for file in needed(other)}
    own = {file for file in needed(config) - kept if file.startswith(YOURS)}
    files = {str(file.relative_to(ROOT)) for file in (ROOT / "src").rglob("*.py")}
    used = {name for file in files - own for name in files_of(imports_of(ROOT / file))}
    return sorted(own - used)


def delete(config: Path, copy: Path) -> list[str]:
    """Delete a configuration and what goes with it in a copy of the project; return what was deleted."""
    gone = [str(config.relative_to(ROOT)), *only_of(config)]
    for file in gone[1:]:
        table, name = copy / Path(file).parent / "__init__.py", Path(file).stem
        table.write_text(re.sub(rf"^    {name}=.*\n", "", table.read_text(), flags=re.MULTILINE))
        test = Path("tests", *Path(file).parts[1:]).with_name(f"test_{name}.py")
        gone += [str(test)] if (copy / test).exists() else []
    for file in gone:
        (copy / file).unlink()
    return gone


def main(configs: list[str]) -> int:
    """Delete each task in a copy of its own and run the quick suite there."""
    code = 0
    for config in [Path(name).resolve() for name in configs] or sorted((ROOT / "configs").glob("*.yaml")):
        if config.stem == KEPT:
            continue
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "project"
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "logs", "data", "__pycache__"))
            print(f"\n{config.stem}: without {', '.join(delete(config, copy))}", flush=True)
            done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=copy, capture_output=True, text=True)
            print("\n".join([line for line in done.stdout.splitlines() if "FAILED" in line or "ERROR" in line]))
            print(done.stdout.strip().splitlines()[-1], flush=True)
            code = code or done.returncode
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
