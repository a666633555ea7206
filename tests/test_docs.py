"""What the README and the docs name is there, and the commands that they show are understood."""

import re
import shlex
from pathlib import Path

import pytest

from docs.make_rooms import ROOT  # no test of a project that was made out of this one: that has no docs
from src.cli.command_line import CommandLine

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_files_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
    named = set(re.findall(r"(?<![\w./*-])(?:configs|src|tests|docs)/[\w./]+\.(?:py|yaml|md)\b", text))
    made_up = {"src/models/networks/my_net.py", "src/datamodules/my_data.py"}  # files that the reader writes, or had
    made_up |= {"src/train.py", "src/eval.py"}
    assert sorted(name for name in named - made_up if not (ROOT / name).exists() and "/x.yaml" not in name) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_understood(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ").replace("--batch N", "--batch 1")
    for words in re.findall(r"python train\.py ([^`\n&|;]+)", text):
        if words.startswith(("WORDS", "[")) or "..." in words:
            continue
        line = CommandLine.parse(shlex.split(words, comments=True))
        assert [file for file in line.files if file.startswith("configs/") and not (ROOT / file).exists()] == [], words
