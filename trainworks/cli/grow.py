"""A project of this template takes in more of it, or what changed: git merges. Run by the project's add and update."""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from trainworks.cli.project import SUBJECT, Project, git, version
from trainworks.errors import UsageError


def grow(folder: Path, words: list[str]) -> int:
    """Bring configs and commands into a project, and what the template changed since; git merges.

    What the template alone would make is committed on top of the last such commit, and merged into the branch.
    """
    project = Project.read(folder)
    if git(folder, "status", "--porcelain", "--untracked-files=no"):
        raise UsageError(f"{folder} has changes that are not committed; commit them first, so that git can merge")
    configs = [word for word in words if word.endswith(".yaml")]
    commands = sorted({*project.commands, *words} - {*configs})
    project = replace(project, configs=sorted({*project.configs, *configs}), commands=commands)
    base = git(folder, "log", "--all", f"--grep=^{SUBJECT}", "-1", "--format=%H")
    if not base:
        raise UsageError(f"{folder} has no commit that begins with '{SUBJECT}': git cannot tell what changed since")
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place) / "tree"
        git(folder, "worktree", "add", "--detach", str(tree), base)
        try:
            for name in git(tree, "ls-files").splitlines():
                if name not in project.own:
                    (tree / name).unlink()
            project.write(tree)
            git(tree, "add", "--all")
            if not git(tree, "status", "--porcelain"):
                print("nothing has changed")
                return 0
            git(tree, "commit", "-m", f"{SUBJECT}, version {version()}")
            made = git(tree, "rev-parse", "HEAD")
        finally:
            git(folder, "worktree", "remove", "--force", str(tree))
    done = subprocess.run(["git", "merge", "--no-edit", made], cwd=folder, check=False)
    if done.returncode:
        print("resolve the conflicts, then git commit; or git merge --abort", file=sys.stderr)
        return 1
    print(project.described(folder))
    return 0


if __name__ == "__main__":  # in the template's folder, for a project
    try:
        sys.exit(grow(Path(sys.argv[1]), sys.argv[2:]))
    except UsageError as error:
        sys.exit(f"error: {error}")
