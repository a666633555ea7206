"""A project's part of the template: configs, and the files of src/ and tests/ that they need."""

import functools
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from trainworks import __version__
from trainworks.cli.projects import library
from trainworks.cli.projects.closure import CLASS_PATH, files_of, imported, needed
from trainworks.errors import UsageError, did_you_mean
from trainworks.root import OWN

PRE_COMMIT, WORKFLOW = ".pre-commit-config.yaml", ".github/workflows/tests.yml"
ROOT_FILES = ("train.py", ".gitignore", PRE_COMMIT, "constraints.txt", "LICENSE", WORKFLOW)
README = Path(__file__).with_name("readme.md")
LIBRARY_TEST_PACKAGES = "    # for the library's tests"  # the comment in pyproject.toml above these packages
CONFIG_PATH = re.compile(r"configs/[\w/]+\.yaml")
DEFAULTS = "configs/defaults.yaml"


@dataclass(frozen=True)
class Project:
    """The part of a template that some of its configs need, found from imports and class paths.

    Args:
        template: Folder of the template.
        configs: Paths relative to that folder, such as `configs/digits.yaml`.
    """

    template: Path
    configs: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in self.configs:
            if not (self.template / name).is_file() or not CONFIG_PATH.fullmatch(name):
                known = [path.relative_to(self.template).as_posix() for path in self._files("configs", "*.yaml")]
                raise UsageError(f"{name} is no config of the template{did_you_mean(name, known)}")

    @functools.cached_property
    def modules(self) -> set[str]:
        """The files of src/ that the configs and their defaults need."""
        configs = [self.template / name for name in (*self.configs, DEFAULTS)]
        return {file for config in configs if config.is_file() for file in needed(config, self.template)}

    @functools.cached_property
    def all_configs(self) -> list[str]:
        """The configs, their sweeps, the defaults, and the overlays that need no other files of src/."""
        others = [*self._files("configs/overlays", "*.yaml"), self.template / DEFAULTS]
        others += [self.template / "configs/sweeps" / Path(name).name for name in self.configs]
        covered = [path for path in others if path.is_file() and needed(path, self.template) <= self.modules]
        return sorted({*self.configs, *(path.relative_to(self.template).as_posix() for path in covered)})

    @functools.cached_property
    def tests(self) -> set[str]:
        """The tests that need no other files of the template."""
        files = [path.relative_to(self.template) for path in self._files("tests", "*.py")]
        kept = {file.as_posix() for file in files if self.covers(file)}
        while lacking := {file for file in kept if not self._helpers(file) <= kept}:
            kept -= lacking
        return kept

    @property
    def files(self) -> list[str]:
        """The files of src/, configs/ and tests/ that are copied."""
        return sorted({*self.modules, *self.all_configs, *self.tests})

    def covers(self, test: Path) -> bool:
        """Whether the project has everything of the template that a test names."""
        mirrored = Path(OWN, *test.parts[1:]).with_name(test.name.removeprefix("test_"))
        if (self.template / mirrored).is_file() and mirrored.as_posix() not in self.modules:
            return False
        text = (self.template / test).read_text(encoding="utf-8")
        paths = [*imported(self.template / test), *CLASS_PATH.findall(text)]
        needs_template = any(path.partition(".")[0] in ("docs", "benchmarks") for path in paths)
        configs = {name for name in CONFIG_PATH.findall(text) if (self.template / name).is_file()}
        return not needs_template and files_of(paths, self.template) <= self.modules and configs <= {*self.all_configs}

    def write(self, folder: Path, made: dict[str, str]) -> None:
        """Write the project into a folder of its name, with the library, and files that were made, by their paths."""
        for name in (*ROOT_FILES, *self.files):
            if (self.template / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.template / name, folder / name)
        library.copy_library(self.template, folder / library.FOLDER)
        hooks = (folder / PRE_COMMIT).read_text(encoding="utf-8")
        hooks = hooks.replace("repos:", f"exclude: ^{library.FOLDER}/\nrepos:", 1)
        for name, text in (made | {PRE_COMMIT: hooks, "pyproject.toml": self._pyproject(folder.name)}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        configs = [name for name in (*made, *self.configs) if name.endswith(".yaml")]
        readme = README.read_text(encoding="utf-8").format(
            name=folder.name,
            trains="\n".join(command_of(folder / config) for config in configs),
            overlays=", ".join(Path(file).stem for file in self.all_configs if "/overlays/" in file),
            config=configs[0],
            version=__version__,
        )
        (folder / "README.md").write_text(readme, encoding="utf-8")

    def _pyproject(self, name: str) -> str:
        """Return pyproject.toml with the project's name, and without what only the library's tests need."""
        text = (self.template / "pyproject.toml").read_text(encoding="utf-8")
        changes = {
            rf"^{LIBRARY_TEST_PACKAGES}.*\n(?:    .*\n)*": "",
            r'^name = ".*"$': f'name = "{name}"',
            r'^version = ".*"$': 'version = "0.1.0"',
            r'^description = ".*"$': f'description = "{name}, trained with Lightning."',
            r"^testpaths = .*$": 'testpaths = ["tests"]',
            r"^(\[tool\.ruff\])$": rf'\1\nextend-exclude = ["{library.FOLDER}"]  # which update replaces',
            rf'^files = \["{OWN}", "{library.FOLDER}", "train\.py"\]\nexclude = .*$': f'files = ["{OWN}", "train.py"]',
            r"\Z": f'\n[[tool.mypy.overrides]]\nmodule = "{library.FOLDER}.*"\nfollow_imports = "silent"\n',
        }
        for before, after in changes.items():
            text, count = re.subn(before, after, text, count=1, flags=re.MULTILINE)
            assert count, f"pyproject.toml has no {before}"
        assert tomllib.loads(text)["project"]["name"] == name
        return text

    def _files(self, folder: str, pattern: str) -> list[Path]:
        return sorted((self.template / folder).rglob(pattern))

    def _helpers(self, test: str) -> set[str]:
        """Return the modules of tests/ that a test imports or names in a class path."""
        text = (self.template / test).read_text(encoding="utf-8")
        paths = {f"{name.replace('.', '/')}.py" for name in re.findall(r"\btests\.(?:[a-z]\w*\.)*[a-z]\w*", text)}
        return {path for path in paths if (self.template / path).is_file()}


def command_of(config: Path) -> str:
    """Return the command in the first line of a config."""
    return config.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
