"""A project's part of the template: configs, and the files of src/ and tests/ that they need."""

import functools
import re
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
    """The part of a template that some of its configs need, found from imports and class paths."""

    template: Path  # its folder
    configs: tuple[str, ...]  # paths relative to that folder, such as configs/digits.yaml

    def __post_init__(self) -> None:
        for name in self.configs:
            if not (self.template / name).is_file() or not CONFIG_PATH.fullmatch(name):
                near = did_you_mean(name, self._files("configs", "*.yaml"))
                raise UsageError(f"{name} is no config of the template{near}")

    @functools.cached_property
    def modules(self) -> set[str]:
        """The files of src/ that the configs and their defaults need."""
        configs = [self.template / name for name in (*self.configs, DEFAULTS)]
        return {file for config in configs if config.is_file() for file in needed(config, self.template)}

    @functools.cached_property
    def all_configs(self) -> list[str]:
        """The configs, their sweeps, the defaults, and the overlays that need no other files of src/."""
        sweeps = [f"configs/sweeps/{Path(name).name}" for name in self.configs]
        others = [DEFAULTS, *sweeps, *self._files("configs/overlays", "*.yaml")]
        files = {name: self.template / name for name in others if (self.template / name).is_file()}
        return sorted({*self.configs, *(name for name in files if needed(files[name], self.template) <= self.modules)})

    @functools.cached_property
    def tests(self) -> set[str]:
        """The tests that need no other files of the template."""
        needs = {name: self._needs(name) for name in self._files("tests", "*.py")}
        kept, others = {*needs}, {*self.modules, *self.all_configs}
        while lacking := {name for name in kept if not needs[name] <= kept | others}:
            kept -= lacking
        return kept

    @property
    def files(self) -> list[str]:
        """The files of src/, configs/ and tests/ that are copied."""
        return sorted({*self.modules, *self.all_configs, *self.tests})

    def write(self, folder: Path, made: dict[str, str]) -> None:
        """Write the project into a folder of its name, with the library, and files that were made, by their paths."""
        files = [name for name in (*ROOT_FILES, *self.files) if (self.template / name).is_file()]
        library.copy_files(files, self.template, folder)
        library.copy_library(self.template, folder / library.FOLDER)
        hooks = (folder / PRE_COMMIT).read_text(encoding="utf-8")
        if self._is_template:
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
            r'^name = ".*"$': f'name = "{name}"',
            r'^version = ".*"$': 'version = "0.1.0"',
            r'^description = ".*"$': f'description = "{name}, trained with Lightning."',
        }
        of_template = {
            rf"^{LIBRARY_TEST_PACKAGES}.*\n(?:    .*\n)*": "",
            r"^testpaths = .*$": 'testpaths = ["tests"]',
            r"^(\[tool\.ruff\])$": rf'\1\nextend-exclude = ["{library.FOLDER}"]  # which update replaces',
            rf'^files = \["{OWN}", "{library.FOLDER}", "train\.py"\]\nexclude = .*$': f'files = ["{OWN}", "train.py"]',
            r"\Z": f'\n[[tool.mypy.overrides]]\nmodule = "{library.FOLDER}.*"\nfollow_imports = "silent"\n',
        }
        for before, after in (changes | (of_template if self._is_template else {})).items():
            text, count = re.subn(before, after, text, count=1, flags=re.MULTILINE)
            assert count, f"pyproject.toml has no {before}"
        assert tomllib.loads(text)["project"]["name"] == name
        return text

    @property
    def _is_template(self) -> bool:
        """Whether it is made from the template, and not from another project, whose files are changed already."""
        return not (self.template / library.FOLDER / library.CHECKSUMS).is_file()

    def _files(self, folder: str, pattern: str) -> list[str]:
        """Return the paths of the files in a folder of the template."""
        return sorted(path.relative_to(self.template).as_posix() for path in (self.template / folder).rglob(pattern))

    def _needs(self, test: str) -> set[str]:
        """Return the files of the template that a test imports, names or mirrors."""
        text = (self.template / test).read_text(encoding="utf-8")
        paths = [*imported(self.template / test), *CLASS_PATH.findall(text)]
        of_template = [path for path in paths if path.partition(".")[0] in ("docs", "benchmarks")]
        names = [*CONFIG_PATH.findall(text), re.sub(r"^tests/(.*/)?(?:test_)?", rf"{OWN}/\1", test)]
        there = [name for name in names if (self.template / name).is_file()]
        return {*of_template, *there, *files_of(paths, self.template)}


def command_of(config: Path) -> str:
    """Return the command in the first line of a config."""
    return config.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
