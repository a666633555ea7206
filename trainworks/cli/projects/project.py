"""What of a template a project takes over: configs, and what they need of src/ and tests/."""

import functools
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from trainworks.cli.projects.closure import PATH, files_of, imported, needed
from trainworks.cli.projects.library import NAME, copy_library, version_of
from trainworks.errors import UsageError, did_you_mean
from trainworks.root import OWN

BESIDE = (
    "train.py",
    ".gitignore",
    ".pre-commit-config.yaml",
    "constraints.txt",
    "LICENSE",
    ".github/workflows/tests.yml",
)
README = Path(__file__).with_name("readme.md")
LIBRARYS = (
    "    # for the library's tests"  # the line of pyproject.toml below which packages stand that no project needs
)
CONFIG = re.compile(r"configs/[\w/]+\.yaml")


@dataclass(frozen=True)
class Project:
    """The part of a template that some of its configs need; everything follows from imports and class paths.

    Args:
        template: Its folder.
        configs: Paths relative to it, such as `configs/digits.yaml`.
    """

    template: Path
    configs: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in self.configs:
            if not (self.template / name).is_file() or not CONFIG.fullmatch(name):
                known = [path.relative_to(self.template).as_posix() for path in self._files("configs", "*.yaml")]
                raise UsageError(f"{name} is no config of the template{did_you_mean(name, known)}")

    @functools.cached_property
    def modules(self) -> set[str]:
        """The files of src/ that it needs."""
        configs = [
            *self.configs,
            *([default] if (self.template / (default := "configs/defaults.yaml")).is_file() else []),
        ]
        return {file for name in configs for file in needed(self.template / name, self.template)}

    @functools.cached_property
    def all_configs(self) -> list[str]:
        """Its configs, their sweeps, the defaults, and those overlays that need nothing more."""
        others = [*self._files("configs/overlays", "*.yaml"), self.template / "configs/defaults.yaml"]
        others += [self.template / "configs/sweeps" / Path(name).name for name in self.configs]
        free = [path for path in others if path.is_file() and needed(path, self.template) <= self.modules]
        return sorted({*self.configs, *(path.relative_to(self.template).as_posix() for path in free)})

    @functools.cached_property
    def tests(self) -> set[str]:
        """Those tests that need nothing else of the template."""
        files = [path.relative_to(self.template) for path in self._files("tests", "*.py")]
        kept = {file.as_posix() for file in files if self.covers(file)}
        while lacking := {file for file in kept if not self._helpers(file) <= kept}:
            kept -= lacking
        return kept

    @property
    def files(self) -> list[str]:
        """All files that are copied as they are, but for the library."""
        return sorted({*self.modules, *self.all_configs, *self.tests})

    def covers(self, test: Path) -> bool:
        """Whether all that a test names of the template goes with it."""
        mirrored = Path(OWN, *test.parts[1:]).with_name(test.name.removeprefix("test_"))
        if (self.template / mirrored).is_file() and mirrored.as_posix() not in self.modules:
            return False
        text = (self.template / test).read_text(encoding="utf-8")
        paths = [*imported(self.template / test), *PATH.findall(text)]
        foreign = any(path.partition(".")[0] in ("docs", "benchmarks") for path in paths)
        configs = {name for name in CONFIG.findall(text) if (self.template / name).is_file()}
        return not foreign and files_of(paths, self.template) <= self.modules and configs <= {*self.all_configs}

    def write(self, folder: Path, name: str) -> None:
        """Write it into a folder, with the library; `name` is that of its package."""
        for file in (*BESIDE, *self.files):
            if (self.template / file).is_file():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.template / file, folder / file)
        copy_library(self.template, folder / NAME)
        hooks = folder / ".pre-commit-config.yaml"
        hooks.write_text(hooks.read_text(encoding="utf-8").replace("repos:", f"exclude: ^{NAME}/\nrepos:", 1))
        (folder / "pyproject.toml").write_text(self._pyproject(name), encoding="utf-8")

    def readme(self, name: str, configs: list[Path]) -> str:
        """Return the README of a project called `name`, whose configs these are."""
        trains = "\n".join(command_of(config) for config in configs)
        overlays = ", ".join(Path(file).stem for file in self.all_configs if "/overlays/" in file)
        text = README.read_text(encoding="utf-8")
        config = f"configs/{configs[0].name}"
        return text.format(
            name=name, trains=trains, overlays=overlays, config=config, version=version_of(self.template)
        )

    def _pyproject(self, name: str) -> str:
        """Return the template's pyproject.toml as a project's: its own name, and nothing for the library's tests."""
        text = (self.template / "pyproject.toml").read_text(encoding="utf-8")
        text = re.sub(rf"(?m)^{LIBRARYS}.*\n(?:    .*\n)*", "", text)
        about = {"name": name, "version": "0.1.0", "description": f"{name}, trained with Lightning."}
        for key, value in about.items():
            text = re.sub(rf'(?m)^{key} = ".*"$', f'{key} = "{value}"', text, count=1)
        changes = {
            r"^testpaths = .*$": 'testpaths = ["tests"]',
            r"^(\[tool\.ruff\])$": rf'\1\nextend-exclude = ["{NAME}"]  # the library, which update replaces whole',
            rf'^files = \["{OWN}", "{NAME}", "train\.py"\]\nexclude = .*$': f'files = ["{OWN}", "train.py"]',
            r"\Z": f'\n[[tool.mypy.overrides]]\nmodule = "{NAME}.*"\nfollow_imports = "silent"\n',
        }
        for before, after in changes.items():
            text, count = re.subn(before, after, text, count=1, flags=re.MULTILINE)
            assert count, f"pyproject.toml has no {before}"
        assert tomllib.loads(text)["project"]["name"] == name
        return text

    def _files(self, folder: str, pattern: str) -> list[Path]:
        return sorted((self.template / folder).rglob(pattern))

    def _helpers(self, test: str) -> set[str]:
        """Return the modules of tests/ that a test imports, or names as a class path."""
        text = (self.template / test).read_text(encoding="utf-8")
        paths = {f"{name.replace('.', '/')}.py" for name in re.findall(r"\btests\.(?:[a-z]\w*\.)*[a-z]\w*", text)}
        return {path for path in paths if (self.template / path).is_file()}


def command_of(config: Path) -> str:
    """Return the command that a config begins with."""
    return config.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def num_lines(folder: Path) -> int:
    """Return the lines of the Python files below a folder."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py"))
