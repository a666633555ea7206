"""A new task written out of a living one: names replaced, and what to fill in marked."""

import re
from collections.abc import Callable
from pathlib import Path

from trainworks.cli.closure import PATH, ROOT, file_of, files_of
from trainworks.errors import UsageError, did_you_mean
from trainworks.runs.yaml_files import load_file

MARKS = {  # in the order in which they are filled in: file, the line before which the mark stands, what belongs there
    "src/datamodules/{task}.py": [(r"def load_splits\(", "your samples and targets")],
    "src/models/{task}.py": [
        (r"def (?:training_)?step\(", "loss, predictions and targets of one batch"),
        (r"def (?:outputs|predict_step)\(", "what the network says of new inputs"),
    ],
    "configs/{task}.yaml": [(r"net:", "network, loss and metrics")],
    "tests/models/test_{task}.py": [(r"(?:def test_|@pytest)", "what must hold for your task")],
}

MODELINE = "# yaml-language-server: $schema=schema.json"  # where editors find what a configuration may hold

TEST = '''"""What must hold for {task}."""

from trainworks.tests.conftest import QUICK, ROOT, Train


def test_it_trains(train: Train) -> None:
    result = train("fit", "--config", str(ROOT / "configs/{task}.yaml"), *QUICK)
    assert result.code == 0, result.err
'''


def skeleton(task: str, like: str, configs: list[str], covers: Callable[[Path], bool]) -> dict[str, str]:
    """Return the files of a new task by their paths.

    Args:
        task: Its name, such as `angle`.
        like: The module of src/models/ that it is made like, such as `classifier`.
        configs: Paths of configs; the first that trains the living task is the pattern of the new one.
        covers: Whether the project has all that a test needs: that of the living task is copied then, else a short one
            is written.

    Raises:
        UsageError: If there is no such module, or no config trains it.
    """
    tasks = _tasks()
    if like not in tasks:
        raise UsageError(f"--like {like} is no task{did_you_mean(like, tasks)}; there are {', '.join(sorted(tasks))}")
    source, old = ROOT / f"src/models/{like}.py", tasks[like]
    trained = [name for name in configs if str(source.relative_to(ROOT)) in files_of(PATH.findall(_text(ROOT / name)))]
    if not trained:
        raise UsageError(f"none of the configs trains {old}; add --config with one that does")
    config, test = ROOT / trained[0], Path(f"tests/models/test_{like}.py")
    data = load_file(str(config))["data"]["class_path"]
    old_data = data.rpartition(".")[2]
    title = "".join(part.capitalize() for part in task.split("_"))
    new, new_data = f"{title}Module", f"{title}DataModule"
    texts = {
        f"src/models/{task}.py": _text(source),
        f"src/datamodules/{task}.py": _text(ROOT / str(file_of(data))),
        f"configs/{task}.yaml": re.sub(r"\A(#.*\n)(?:#.*\n)*", rf"\1{MODELINE}\n", _text(config)),
        f"tests/models/test_{task}.py": _text(ROOT / test) if covers(test) else TEST.format(task=task),
    }
    for path, text in texts.items():
        for package, before, after in (("models", old, new), ("datamodules", old_data, new_data)):
            text = text.replace(f"src.{package}.{before}", f"src.{package}.{task}.{after}")
            text = text.replace(f"from src.{package} import {before}", f"from src.{package}.{task} import {after}")
            text = re.sub(rf"(?<!\w){before}(?!\w)", after, text)
        texts[path] = re.sub(rf"(?<!\w){re.escape(config.name)}", f"{task}.yaml", text)
    return _marked(texts, task)


def _tasks() -> dict[str, str]:
    """Return the module class of each task that has a test, by its file's name."""
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests/models").glob("test_*.py")} - {"base"}
    files = [path for path in (ROOT / "src/models").glob("*.py") if path.stem in tested]
    found = {path.stem: re.findall(r"^class (\w+Module)\b", _text(path), re.MULTILINE) for path in files}
    return {name: classes[0] for name, classes in found.items() if classes}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _marked(texts: dict[str, str], task: str) -> dict[str, str]:
    """Number the places to fill in; not every task has all of them."""
    places = [(path.format(task=task), line, what) for path, marks in MARKS.items() for line, what in marks]
    places = [(path, rf"(?m)^( *)(?={line})", what) for path, line, what in places]
    places = [place for place in places if re.search(place[1], texts[place[0]])]
    for number, (path, start, what) in enumerate(places, start=1):
        mark = rf"\1# FILL IN {number} of {len(places)}: {what}\n\1"
        texts[path] = re.sub(start, mark, texts[path], count=1)
    return texts
