"""A project of its own out of this template: what it consists of, and how it grows; see the commands new and add."""

import functools
import importlib.metadata
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainworks.cli.closure import PATH, ROOT, closure, files_of, imported, imports_of, needed
from trainworks.cli.command_line import LEFT_OUT
from trainworks.cli.skeleton import skeleton
from trainworks.errors import UsageError, did_you_mean

BESIDE = (
    "train.py",
    ".gitignore",
    ".pre-commit-config.yaml",
    "constraints.txt",
    "LICENSE",
    ".github/workflows/tests.yml",
)
GROWS = ("add", "update", "schema")  # commands that every project has, beside those that train and evaluate
SUBJECT = "From the template"  # how the commits begin that hold what the template alone would make


@dataclass
class Project:
    """What a project takes over: everything else follows from imports and class paths.

    Args:
        name: Of the package.
        configs: Paths below configs/, without those of overlays that need nothing more.
        commands: Further commands.
        task: A new task and the one that it is made like; empty for none.
        own: Files of the new task, which an update leaves alone.
    """

    name: str
    configs: list[str]
    commands: list[str] = field(default_factory=list)
    task: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> "Project":
        """Read what a project says of itself in its pyproject.toml."""
        file = folder / "pyproject.toml"
        content = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        stated = content.get("tool", {}).get("template")
        if stated is None:
            raise UsageError(f"{folder} is no project of this template: its pyproject.toml has no [tool.template]")
        return cls(content["project"]["name"], stated["configs"], stated["commands"], [], stated["own"])

    def __post_init__(self) -> None:
        for name in self.configs:
            if not (ROOT / name).is_file() or not name.startswith("configs/") or not name.endswith(".yaml"):
                known = [str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yaml")]
                raise UsageError(f"{name} is no config of the template{did_you_mean(name, known)}")
        known = [path.stem for path in (ROOT / "src/cli/commands").glob("*.py") if path.stem in LEFT_OUT]
        for name in self.commands:
            if name not in known:
                near = did_you_mean(name, known)
                raise UsageError(f"{name} is no command to bring in{near}; there are {', '.join(sorted(known))}")

    @functools.cached_property
    def modules(self) -> set[str]:
        """The files of src/ that it needs."""
        commands = {f"src/cli/commands/{name}.py" for name in (*GROWS, *self.commands)}
        first = {file for name in self.configs for file in needed(ROOT / name)} | needed(
            ROOT / "trainworks/defaults.yaml"
        )
        found = closure(first | commands | files_of(imports_of(ROOT / "train.py")))
        packages = {parent / "__init__.py" for file in found for parent in Path(file).parents if parent != Path(".")}
        return found | {str(file) for file in packages} | {"trainworks/defaults.yaml"}

    @functools.cached_property
    def chosen(self) -> list[str]:
        """Its configs, and those overlays that need nothing more."""
        overlays = sorted((ROOT / "configs/overlays").glob("*.yaml"))
        free = [str(path.relative_to(ROOT)) for path in overlays if needed(path) <= self.modules]
        return sorted({*self.configs, *free})

    @functools.cached_property
    def tests(self) -> set[str]:
        """The tests of its modules: those that reach nothing else, in rooms that it has."""
        rooms = {Path(file).parts[1] for file in self.modules}
        files = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py")]
        kept = {str(file) for file in files if len(file.parts) == 2 or file.parts[1] in rooms}
        kept -= {str(file) for file in files if not self._covers(file)}
        while True:  # helpers of tests, such as trainworks.tests.strangers
            lacking = {file for file in kept if not self._helpers(ROOT / file) <= kept}
            if not lacking:
                return kept
            kept -= lacking

    def _covers(self, test: Path) -> bool:
        """Whether all that a test names of this template goes with it."""
        mirror = Path("src", *test.parts[1:]).with_name(test.name.removeprefix("test_"))
        if (ROOT / mirror).is_file() and str(mirror) not in self.modules:
            return False
        text = (ROOT / test).read_text(encoding="utf-8")
        foreign = re.search(r"^\s*(?:from|import) (?:docs|benchmarks)\b", text, re.MULTILINE)
        names = {*imports_of(ROOT / test), *PATH.findall(text)}
        return not foreign and files_of(sorted(names)) <= self.modules

    def _helpers(self, test: Path) -> set[str]:
        """Return the modules of tests/ that a test imports, or names as a class path."""
        found = re.findall(r"\btests\.(?:[a-z]\w*\.)*[a-z]\w*", test.read_text(encoding="utf-8"))
        paths = {f"{name.replace('.', '/')}.py" for name in found}
        return {path for path in paths if (ROOT / path).is_file()}

    def write(self, folder: Path) -> None:
        """Write all files into a folder, which may hold an earlier state of them."""
        for name in sorted({*BESIDE, *self.modules, *self.chosen, *self.tests}):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
            if name.endswith("__init__.py"):
                (folder / name).write_text(self._handed_out(Path(name)), encoding="utf-8")
        if self.task:
            texts = skeleton(self.task[0], self.task[1], self.configs, self._covers)
            self.own = sorted(texts)
            for name, text in texts.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text, encoding="utf-8")
        (folder / "pyproject.toml").write_text(self._pyproject(), encoding="utf-8")
        (folder / "README.md").write_text(self._readme(folder), encoding="utf-8")

    def _handed_out(self, package: Path) -> str:
        """Return a package without the names of modules that stay behind."""
        text = (ROOT / package).read_text(encoding="utf-8")
        for line, module in re.findall(r'^(    (\w+)=".*\n)', text, re.MULTILINE):
            if str(package.with_name(f"{module}.py")) not in self.modules:
                text = text.replace(line, "")
        return text

    def _pyproject(self) -> str:
        """Return this project's pyproject.toml with another name and without the packages that only others need."""
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        everywhere, here = (
            {name.partition(".")[0] for path in paths if path.suffix == ".py" for name in imported(path)}
            for paths in ((ROOT / "src").rglob("*.py"), [ROOT / name for name in self.modules])
        )
        said = "".join((ROOT / name).read_text(encoding="utf-8") for name in (*self.chosen, *self.modules))
        lines = []
        for line in text.splitlines():
            packages = re.findall(r'"([\w-]+)(?:\[\w+\])?[><=]', line) if re.match(r'    "|\w+ = \["', line) else []
            imports = {name for package in packages for name in _imports(package)}
            reason = re.search(r"# for (\w+\.\w+)", line)
            unused = imports & everywhere and not imports & here
            if packages and (unused or (reason and reason[1] not in said)):
                continue
            lines.append(line)
        text = "\n".join(lines) + "\n"
        about = {"name": self.name, "version": "0.1.0", "description": f"{self.name}, trained with Lightning."}
        for key, value in about.items():
            text = re.sub(rf'^{key} = ".*"$', f'{key} = "{value}"', text, count=1, flags=re.MULTILINE)
        stated: dict[str, str | list[str]] = {"version": version(), "configs": self.configs, "commands": self.commands}
        stated["own"] = self.own
        table = "".join(f"{key} = {_toml(value)}\n" for key, value in stated.items())
        return f"{text}\n[tool.template]  # what was taken over; python train.py update and add read it\n{table}"

    def _readme(self, folder: Path) -> str:
        configs = [name for name in (*self.own, *self.chosen) if name.endswith(".yaml") and "overlays" not in name]
        trains = "\n".join(command_of((ROOT if name in self.chosen else folder) / name) for name in configs)
        overlays = ", ".join(Path(name).stem for name in self.chosen if "overlays" in name)
        text = (ROOT / "trainworks/cli/project_readme.md").read_text(encoding="utf-8")
        return text.format(
            name=self.name, trains=trains, overlays=overlays, config=configs[0], version=version(),
            commands=", ".join(["fit", "validate", "test", "predict", *self.commands]),
        )  # fmt: skip

    def described(self, folder: Path) -> str:
        """Say what it has, in its folder, and what stays behind."""
        here, whole = (num_lines((root / "src").rglob("*.py")) for root in (folder, ROOT))
        configs = {path.stem for path in (ROOT / "configs").glob("*.yaml")} - {Path(name).stem for name in self.configs}
        commands = [path.stem for path in sorted((ROOT / "src/cli/commands").glob("*.py")) if path.stem in LEFT_OUT]
        behind = [name for name in commands if f"src/cli/commands/{name}.py" not in self.modules]
        return (
            f"src/: {here} lines of Python, and {len(self.tests)} files of tests (the template's src/: {whole})\n"
            f"left out: the configs {', '.join(sorted(configs))}; the commands {', '.join(behind)}"
        )


def command_of(config: Path) -> str:
    """Return the command that a config begins with."""
    return config.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


@functools.cache
def version() -> str:
    """Return the version of this template, with the commit where git knows it."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return content["project"]["version"] + (f" ({done.stdout.strip()})" if done.returncode == 0 else "")


def num_lines(paths: Iterable[Path]) -> int:
    """Return the lines of Python files."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths if path.suffix == ".py")


def git(folder: Path, *words: str) -> str:
    """Run git in a folder and return what it said; a missing identity is made up, for commits of the template's."""
    known = (
        subprocess.run(["git", "config", "user.email"], cwd=folder, capture_output=True, check=False).returncode == 0
    )
    who = [] if known else ["-c", "user.name=template", "-c", "user.email=template@localhost"]
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"git {words[0]} failed in {folder}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


@functools.cache
def _imports(package: str) -> set[str]:
    """Return the names that a package is imported by."""
    known: dict[str, Any] = dict(importlib.metadata.packages_distributions())
    plain = {name for name, owners in known.items() if package.lower() in {owner.lower() for owner in owners}}
    return plain or {package.replace("-", "_").lower()}


def _toml(value: str | list[str]) -> str:
    return f'"{value}"' if isinstance(value, str) else "[" + ", ".join(f'"{item}"' for item in value) + "]"
