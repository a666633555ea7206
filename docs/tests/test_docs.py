"""What the README and the docs name is there, and the commands that they show are understood."""

import ast
import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from docs.tests.without import delete
from tests.test_configs import (
    smaller,
    write_arrays,
    write_boxes,
    write_fashion_mnist,
    write_folder,
    write_masks,
    write_weights,
)
from trainworks.cli.command_line import CommandLine
from trainworks.root import OWN
from trainworks.testing import QUICK, ROOT, Train, write_images

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_files_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
    named = set(re.findall(r"(?<![\w./*-])(?:configs|src|tests|docs|trainworks)/[\w./]+\.(?:py|yaml|md)\b", text))
    made_up = {"src/models/networks/my_net.py", "src/datamodules/my_data.py"}  # files that the reader writes, or had
    made_up |= {"src/train.py", "src/eval.py", "configs/local/default.yaml"}
    assert (
        sorted(name for name in named - made_up if not (ROOT / name).exists() and "/x.yaml" not in name.lower()) == []
    )


def called_in(path: Path) -> set[str]:
    """Return what a file names: in Python outside of texts, in a configuration anywhere."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        return set(re.findall(r"\w+", text.lower()))
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        found |= {node.attr} if isinstance(node, ast.Attribute) else {node.id} if isinstance(node, ast.Name) else set()
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found |= {part for module in modules for part in module.split(".")}
    return found


def test_each_file_of_the_table_calls_what_it_stands_beside() -> None:
    page = ROOT / "docs/zh/README.md"
    rows = re.findall(
        r"^\| (.+?) \| (.+) \|$", page.read_text(encoding="utf-8").partition("| PyTorch |")[2], re.MULTILINE
    )
    assert len(rows) > 25
    for first, second in rows:
        names = {name.rpartition(".")[2] for name in re.findall(r"`([\w.]+)`", first)}
        files = [page.parent / link for link in re.findall(r"\]\(([^)]+\.(?:py|yaml))\)", second)]
        called = [{name for name in names if {name, name.lower()} & called_in(file)} for file in files]
        assert all(called) or not names, (first, files, called)
        assert not files or set().union(*called) == names, (first, called)


def commands_of(text: str) -> list[list[str]]:
    """Return the words after `train.py` of each command in a page, in order."""
    text = text.replace("\\\n", " ")
    found = re.findall(r"python train\.py ([^`\n&|;]+)", text)
    written = [words for words in found if not words.startswith(("WORDS", "[")) and "..." not in words]
    return [shlex.split(words, comments=True) for words in written]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_understood(page: Path) -> None:
    for words in commands_of(page.read_text(encoding="utf-8").replace("--batch N", "--batch 1")):
        line = CommandLine.parse(words)
        assert [file for file in line.files if file.startswith("configs/") and not (ROOT / file).exists()] == [], words


WORLD = {  # what stands for names that the reader replaces
    "C": "configs/digits.yaml",
    "CONFIG": "configs/digits.yaml",
    "S": "sweeps/digits.yaml",
    "configs/sweeps/digits.yaml": "sweeps/digits.yaml",
    "RUN": "logs/digits/mine",
    "logs/digits/NAME": "logs/digits/mine",
    "P": "logs/digits/mine/checkpoints/best.ckpt",
    "FILE": "table.npz",
    "X": "new",
    "NEW": "new",
    "precision=0.9": "precision=0.1",  # four small epochs reach no more
}
BESIDE = {  # what stands for such a name beside one of these words
    "configs/gpt.yaml": ("FILE", "text.txt"),
    "configs/diabetes.yaml": ("FILE", "prices.csv"),
    "labels.yaml": ("FILE", "labels.csv"),
    "configs/boxes.yaml": ("DIR", "boxes"),
    "configs/mask_folder.yaml": ("DIR", "masked"),
    "--data.num_channels": ("DIR", "planes"),
    "--threshold": ("C", "configs/multilabel.yaml"),
    "--tile": ("C", "configs/segmentation.yaml"),
}
FOUR_EPOCHS = ("--trainer.max_epochs", "4", "--trainer.limit_train_batches", "1.0")
FEWER = {"num_folds": "2", "num_seeds": "2", "trainer.devices": "1", "trainer.max_epochs": "1"}
APART = {  # what needs more than a folder, and the tests that run it
    "merge": "trainworks/tests/runtime/test_fsdp.py",
    "add": "trainworks/tests/cli/projects/test_projects.py",
    "update": "trainworks/tests/cli/projects/test_projects.py",
    "replay": "trainworks/tests/callbacks/test_finite_loss.py",
}


def in_the_world(words: list[str]) -> list[str]:
    """Return a command with what the reader replaces, in fewer steps."""
    stands = WORLD | dict(pair for word, pair in BESIDE.items() if word in words)
    words = [stands.get(word, word) for word in words]
    words = [FEWER.get(before.removeprefix("--"), word) for before, word in zip(["", *words], words, strict=False)]
    line = CommandLine.parse(words)
    if line.name in (None, "fit", "repeat", "sweep") and line.help is None and not line.print_config:
        given = dict(zip(QUICK[::2], QUICK[1::2], strict=True))
        words += [word for key, value in given.items() for word in (key, value) if key not in words]
    words += ["--latency", "false"] if line.name == "export" else []
    if "configs/overlays/compile.yaml" in words:
        words += ["--callbacks.compile.backend", "eager"]
    return words


@pytest.fixture
def world(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """A clone's folder with data and runs, in which commands run."""
    folder = tmp_path / "clone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "configs").symlink_to(ROOT / "configs")
    sweep = (ROOT / "configs/sweeps/digits.yaml").read_text()
    (folder / "sweeps").mkdir()
    (folder / "sweeps/digits.yaml").write_text(sweep.replace("num_trials: 20", "num_trials: 2"))
    (folder / "my_change.yaml").write_text("trainer: {max_epochs: 1}\n")
    (folder / "text.txt").write_text("To be, or not to be. " * 400)
    monkeypatch.setattr(sys, "stdin", io.StringIO("new/000.jpg\n"))
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    write_folder(folder / "DIR")
    write_weights(ROOT / "configs/finetune.yaml")
    write_boxes(folder / "boxes")
    write_masks(folder / "masked")
    for index in range(100):
        (planes := folder / "planes" / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        np.save(planes / f"{index:03}.npy", np.random.default_rng(index).random((20, 24, 5), dtype=np.float32))
    write_images(folder / "scans", 2)
    write_images(folder / "new", 2)
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/data.md").read_text(encoding="utf-8"), re.DOTALL)
    (folder / "labels.yaml").write_text(next(block for block in blocks if "MultilabelModule" in block))
    names = sorted(str(path.relative_to("DIR")) for path in Path("DIR").rglob("*.jpg"))
    rows = "".join(f"{name},{k % 3 // 2},{k % 4 // 3},{k % 2},{k % 5 // 4}\n" for k, name in enumerate(names))
    (folder / "labels.csv").write_text(f"path,animal,wheels,wings,frog\n{rows}")
    write_fashion_mnist(folder / "data")
    write_arrays(folder / "arrays")
    (folder / "arrays/a.npz").rename(folder / "table.npz")
    (folder / "prices.csv").write_text("area,price\n" + "".join(f"{i},{i * i}.5\n" for i in range(40)))
    (folder / "rows.csv").write_text(",".join(f"input_{i}" for i in range(7)) + "\n" + ",".join("1234567") + "\n")
    data = {
        "digits": [],
        "image_folder": ["--data.root", "DIR"],
        "arrays": ["--data.train", "table.npz"],
        "fashion_mnist": [],
        "multilabel": [],
        "segmentation": smaller(ROOT / "configs/segmentation.yaml"),
        "detection": [*smaller(ROOT / "configs/detection.yaml"), "--data.num_train", "160", *FOUR_EPOCHS],
    }
    for config, words in data.items():
        result = train("fit", "--config", f"configs/{config}.yaml", "--run_name", "mine", *QUICK, *words)
        assert result.code == 0, result.err
    for name in ("a", "b1"):
        shutil.copytree(folder / "logs/digits/mine", folder / f"logs/digits/{name}")
    for text in re.findall(r"```python\n(# src/\S+\.py\n.*?)```", PAGES[0].read_text(), re.DOTALL):
        name = text.split("\n")[0][2:].removesuffix(".py").replace("/", ".")
        sys.modules[name] = module = ModuleType(name)  # for good: the parser goes on listing the classes in it
        exec(text, vars(module))
    return train


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # SQLAlchemy, of MLflow's own tables
@pytest.mark.reach
def test_commands_do_what_they_should(world: Train) -> None:
    done, failed = list[list[str]](), []
    for page in PAGES:
        for words in commands_of(page.read_text(encoding="utf-8")):
            if words[0] in APART or (words := in_the_world(words)) in done:
                continue
            if words[0] == "new":
                shutil.rmtree(words[1], ignore_errors=True)
            result = world(*words)
            if result.code:
                failed.append((page.name, words, result.err))
            done.append(words)
    assert failed == [] and len(done) > 40
    assert all((ROOT / test).is_file() for test in APART.values())


def test_the_errors_that_are_explained_exist() -> None:
    own, _, _ = (ROOT / "docs/errors.md").read_text(encoding="utf-8").partition("## What the libraries say")
    messages = re.findall(r"^\| `([^`]+)`", own, re.MULTILINE)
    files = [*(ROOT / OWN).rglob("*.py"), *(ROOT / "trainworks").rglob("*.py")]
    trees = [
        ast.parse(file.read_text(encoding="utf-8")) for file in files if ROOT / "trainworks/tests" not in file.parents
    ]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    said = "\n".join(node.value for node in nodes if isinstance(node.value, str))
    pieces = [piece.strip() for message in messages for piece in message.split("…") if piece.strip(" ;:,")]
    assert len(messages) > 25 and [piece for piece in pieces if piece not in said] == []


@pytest.mark.reach
def test_a_task_takes_as_few_lines_as_the_readme_says(tmp_path: Path) -> None:
    config = ROOT / "configs/diabetes.yaml"
    shutil.copytree(ROOT, copy := tmp_path / "clone", ignore=shutil.ignore_patterns(".*", "logs", "data"))
    delete(config, copy)  # all that there is of the task
    shutil.copy(ROOT / (rescaled := "src/models/networks/rescaled.py"), copy / rescaled)  # which no other uses
    words = [sys.executable, "train.py", "--config", "configs/diabetes.yaml", *QUICK]
    before = subprocess.run(words, cwd=copy, capture_output=True, text=True)
    assert before.returncode == 2 and "no such file" in before.stderr
    files = ["src/models/regressor.py", "src/datamodules/diabetes.py"]
    for name in [*files, "configs/diabetes.yaml"]:  # no other file is touched
        shutil.copy(ROOT / name, copy / name)
    done = subprocess.run(words, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0 and "test/rmse" in done.stdout, done.stderr
    lines = sum(len((copy / name).read_text().splitlines()) for name in files)
    assert lines <= 80 and f"| 2 files, {lines} lines, a config, no edits |" in PAGES[0].read_text()
