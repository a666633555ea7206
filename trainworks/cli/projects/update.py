"""Replacing the library of a project by the template's."""

import shutil
import tomllib
from pathlib import Path

from trainworks.cli.projects.add import template_at
from trainworks.cli.projects.library import (
    FOLDER,
    changed_files,
    changelog_between,
    checksums,
    copy_library,
    recorded_checksums,
    version_of,
)
from trainworks.errors import UsageError, listed
from trainworks.root import ROOT


def update_library(source_folder: str) -> int:
    """Replace the library whole by that of a clone, unless a file was edited, and say what changed; return 0."""
    template = template_at(source_folder, "update")
    before, here = recorded_checksums(ROOT / FOLDER), checksums(ROOT / FOLDER)
    if edited := changed_files(before, here):
        advice = (
            f"put them back (git checkout) or move your changes into classes of your own; {FOLDER}/ is replaced whole"
        )
        raise UsageError(f"{FOLDER}/ was edited: {listed(edited)}; {advice}")
    after = checksums(template / FOLDER)
    if changed := changed_files(before, after):
        old, new = version_of(ROOT), version_of(template)
        _replace(template)
        print(f"{FOLDER} {old} -> {new}: {len(changed)} files changed")
        changelog = template / "CHANGELOG.md"
        print("\n" + changelog_between(changelog.read_text(encoding="utf-8") if changelog.is_file() else "", old, new))
        _tell_requirements(template)
    else:
        print("nothing has changed")
    return 0


def _replace(template: Path) -> None:
    """Put a copy of the library beside the one that is there, and let it take its place."""
    library, coming, going = (ROOT / f"{FOLDER}{ending}" for ending in ("", ".new", ".old"))
    for left in (coming, going):  # by an update that was killed
        shutil.rmtree(left, ignore_errors=True)
    copy_library(template, coming)
    library.rename(going)
    coming.rename(library)
    shutil.rmtree(going, ignore_errors=True)


def _tell_requirements(template: Path) -> None:
    """Name the packages that the template needs and this project's pyproject.toml does not state so."""
    theirs, ours = (
        tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("dependencies", [])
        for folder in (template, ROOT)
    )
    if lacking := [requirement for requirement in theirs if requirement not in ours]:
        print("\nthe template's pyproject.toml states: " + ", ".join(lacking))
