"""python train.py update --from TEMPLATE: replace the library of this project by the template's."""

import shutil
import tomllib
from pathlib import Path

from trainworks.cli.commands.add import template_of
from trainworks.cli.projects import library
from trainworks.cli.request import Request
from trainworks.errors import UsageError, listed
from trainworks.root import ROOT


def update(request: Request) -> int:
    """Replace the library as a whole, unless one of its files was edited, and print what changed; return 0."""
    template = template_of(request.line)
    before, now = library.recorded_checksums(ROOT / library.FOLDER), library.checksums(ROOT / library.FOLDER)
    if edited := library.changed_files(before, now):
        advice = "put them back (git checkout) or move your changes into classes of your own"
        raise UsageError(f"{library.FOLDER}/ was edited: {listed(edited)}; {advice}; it is replaced as a whole")
    after = library.checksums(template / library.FOLDER)
    if changed := library.changed_files(before, after):
        old, new = library.version_of(ROOT), library.version_of(template)
        _replace(template)
        print(f"{library.FOLDER} {old} -> {new}: {len(changed)} files changed")
        changelog = template / "CHANGELOG.md"
        text = changelog.read_text(encoding="utf-8") if changelog.is_file() else ""
        print("\n" + library.changelog_between(text, old, new))
        _print_new_requirements(template)
    else:
        print("nothing has changed")
    return 0


def _replace(template: Path) -> None:
    """Copy the new library beside the old one, and exchange them by two renames."""
    current, new, old = (ROOT / f"{library.FOLDER}{ending}" for ending in ("", ".new", ".old"))
    for leftover in (new, old):  # of an update that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    library.copy_library(template, new)
    current.rename(old)
    new.rename(current)
    shutil.rmtree(old, ignore_errors=True)


def _print_new_requirements(template: Path) -> None:
    """Print the requirements of the template that this project's pyproject.toml does not have."""
    theirs, ours = (
        tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("dependencies", [])
        for folder in (template, ROOT)
    )
    if missing := [requirement for requirement in theirs if requirement not in ours]:
        print("\nthe template's pyproject.toml requires: " + ", ".join(missing))
