import re
import shutil
import tomllib
from pathlib import Path

from trainworks.cli.command import Command, Option
from trainworks.cli.command_line import CommandLine
from trainworks.cli.projects.library import (
    FOLDER,
    changed_files,
    checksums,
    copy_library,
    recorded_checksums,
    template_of,
    version_of,
)
from trainworks.errors import UsageError, listed
from trainworks.root import ROOT


def update(line: CommandLine) -> int:
    """Replace the library whole by that of a clone, unless a file was edited, and say what changed; return 0."""
    template, here = template_of(line), checksums(ROOT / FOLDER)
    if edited := changed_files(recorded_checksums(ROOT / FOLDER), here):
        advice = "put them back (git checkout) or move your changes into classes of your own"
        raise UsageError(f"{FOLDER}/ was edited: {listed(edited)}; {advice}; {FOLDER}/ is replaced whole")
    changed = changed_files(here, checksums(template / FOLDER))
    if not changed:
        print("nothing has changed")
        return 0
    old, new = version_of(ROOT), version_of(template)
    _replace_library(template)
    print(f"{FOLDER} {old} -> {new}: {len(changed)} files changed")
    changelog = template / "CHANGELOG.md"
    print("\n" + changelog_between(changelog.read_text(encoding="utf-8") if changelog.is_file() else "", old, new))
    theirs, ours = _requirements(template), _requirements(ROOT)
    if lacking := [requirement for requirement in theirs if requirement not in ours]:
        print("\nthe template's pyproject.toml states: " + ", ".join(lacking))
    return 0


def changelog_between(changelog: str, before: str, after: str) -> str:
    """Return the sections of a changelog about the versions after `before`, up to and including `after`."""
    sections = {match[1]: match[0] for match in re.finditer(r"(?ms)^## v?([\d.]+).*?(?=^## |\Z)", changelog)}
    wanted = [text for version, text in sections.items() if _numbers(before) < _numbers(version) <= _numbers(after)]
    return "".join(wanted).strip()


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _replace_library(template: Path) -> None:
    """Put a copy of the library beside the one that is there, and let it take its place."""
    library, coming, going = (ROOT / f"{FOLDER}{ending}" for ending in ("", ".new", ".old"))
    for left in (coming, going):  # by an update that was killed
        shutil.rmtree(left, ignore_errors=True)
    copy_library(template, coming)
    library.rename(going)
    coming.rename(library)
    shutil.rmtree(going, ignore_errors=True)


def _requirements(folder: Path) -> list[str]:
    """Return the packages that the pyproject.toml in a folder states."""
    content = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    return list(content["project"].get("dependencies", []))


COMMAND = Command(
    update,
    "Replace the library of this project by the template's.",
    needs="words",
    options=(Option("from", "a clone of the template", "FOLDER", required=True),),
)
