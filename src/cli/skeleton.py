"""A new task written out of a living one: names replaced, and what to fill in marked."""

import re
from pathlib import Path

from src.cli.closure import PATH, ROOT, file_of
from src.errors import UsageError, did_you_mean

MARKS = {  # in the order in which they are filled in: file, the line before which the mark stands, what belongs there
    "src/datamodules/{task}.py": [(r"def load_splits\(", "your samples and targets")],
    "src/models/{task}.py": [
        (r"def step\(", "loss, predictions and targets of one batch"),
        (r"def (?:outputs|predict_step)\(", "what the network says of new inputs"),
    ],
    "configs/{task}.yaml": [(r"net:", "network, loss and metrics")],
    "tests/models/test_{task}.py": [(r"(?:def test_|@pytest)", "what must hold for your task")],
}


def skeleton(task: str, like: str, configs: list[str]) -> dict[str, str]:
    """Return the files of a new task by their paths.

    Args:
        task: Its name, such as `angle`.
        like: The module of src/models/ that it is made like, such as `classifier`.
        configs: Paths of configs; the first that trains the living task is the pattern of the new one.

    Raises:
        UsageError: If there is no such module, or no config trains it.
    """
    source = ROOT / "src/models" / f"{like}.py"
    known = [
        path.stem
        for path in (ROOT / "src/models").glob("*.py")
        if (ROOT / f"tests/models/test_{path.stem}.py").exists()
    ]
    if like not in known or like == "base":
        raise UsageError(f"--like {like} is no task{did_you_mean(like, known)}; there are {', '.join(sorted(known))}")
    (old,) = re.findall(r"^class (\w+Module)\b", source.read_text(encoding="utf-8"), re.MULTILINE)
    name = "".join(part.capitalize() for part in task.split("_"))
    for config in configs:
        text = (ROOT / config).read_text(encoding="utf-8")
        if f"src/models/{like}.py" in {file_of(path) for path in PATH.findall(text)}:
            break
    else:
        raise UsageError(f"none of the configs trains {old}; add --config with one that does")
    (data,) = re.findall(r"^data:\n  class_path: (\S+)$", text, re.MULTILINE)
    old_data = data.rpartition(".")[2]
    renamed = {
        old: f"{name}Module",
        old_data: f"{name}DataModule",
        f"configs/{Path(config).name}": f"configs/{task}.yaml",
    }
    texts = {
        f"src/models/{task}.py": source.read_text(encoding="utf-8"),
        f"src/datamodules/{task}.py": (ROOT / str(file_of(data))).read_text(encoding="utf-8"),
        f"configs/{task}.yaml": f"# python train.py --config configs/{task}.yaml\n" + re.sub(r"\A(?:#.*\n)+", "", text),
        f"tests/models/test_{task}.py": (ROOT / f"tests/models/test_{like}.py").read_text(encoding="utf-8"),
    }
    for path, text in texts.items():
        for package, title, module in (
            ("models", old, f"{name}Module"),
            ("datamodules", old_data, f"{name}DataModule"),
        ):
            text = text.replace(f"src.{package}.{title}", f"src.{package}.{task}.{module}")
            text = text.replace(f"from src.{package} import {title}", f"from src.{package}.{task} import {module}")
        for before, after in renamed.items():
            text = re.sub(rf"(?<!\w){re.escape(before)}(?!\w)", after, text)
        texts[path] = text
    return _marked(texts, task)


def _marked(texts: dict[str, str], task: str) -> dict[str, str]:
    """Number the places to fill in."""
    number, total = 0, sum(len(marks) for marks in MARKS.values())
    for pattern, marks in MARKS.items():
        path = pattern.format(task=task)
        for line, what in marks:
            number += 1
            found = re.search(rf"^( *){line}", texts[path], re.MULTILINE)
            if found:
                mark = f"{found[1]}# FILL IN {number} of {total}: {what}\n"
                texts[path] = texts[path][: found.start()] + mark + texts[path][found.start() :]
    return texts
