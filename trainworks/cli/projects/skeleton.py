"""A new task written out of a living one: names replaced, and what to fill in marked."""

import re
from pathlib import Path

from trainworks.cli.projects.closure import PATH, files_of
from trainworks.cli.projects.project import Project
from trainworks.errors import UsageError, did_you_mean
from trainworks.root import OWN
from trainworks.runs.yaml_files import load_file

MARKS = {  # in the order in which they are filled in: file, the line before which the mark stands, what belongs there
    f"{OWN}/datamodules/{{task}}.py": [(r"def load_splits\(", "your samples and targets")],
    f"{OWN}/models/{{task}}.py": [
        (r"def (?:training_)?step\(", "loss, predictions and targets of one batch"),
        (r"def (?:outputs|results|predict_step)\(", "what the network says of new inputs"),
    ],
    "configs/{task}.yaml": [(r"net:", "network, loss and metrics")],
    "tests/models/test_{task}.py": [(r"(?:def test_|@pytest)", "what must hold for your task")],
}
MODELINE = "# yaml-language-server: $schema=schema.json"  # where editors find what a configuration may hold

DATA = '''from dataclasses import dataclass
from typing import Any

from {module} import {base}


@dataclass(kw_only=True, eq=False, repr=False)
class {name}({base}):
    """Say what a sample is, its shape and values, and where it comes from."""

    def load_splits(self) -> dict[str, Any]:
        """Return the datasets called "train", "val" and "test", or one called "all"."""
        return super().load_splits()
'''

TEST = '''"""What must hold for {task}; tests/test_configs.py trains its config."""

from {own}.models.{task} import {name}
from trainworks.testing import ROOT


def test_the_config_trains_it() -> None:
    assert f"{{{name}.__module__}}.{name}" in (ROOT / "configs/{task}.yaml").read_text(encoding="utf-8")
'''


def skeleton(task: str, like: str, project: Project) -> dict[str, str]:
    """Return the files of a new task by their paths.

    Args:
        task: Its name, such as `angle`.
        like: The module of src/models/ that it is made like, such as `classifier`.
        project: Its first config that trains the living task is the pattern of the new one. Data of the library becomes
            a class that derives from it; the test of the living task is copied where the project has all that it needs.

    Raises:
        UsageError: If there is no such module, or no config trains it.
    """
    root, tasks = project.template, _tasks(project.template)
    if like not in tasks:
        near = did_you_mean(like, tasks)
        raise UsageError(f"--like {like} is no task{near}; there are {', '.join(sorted(tasks))}")
    source, old = f"{OWN}/models/{like}.py", tasks[like]
    trained = [name for name in project.configs if source in files_of(PATH.findall(_text(root / name)), root)]
    if not trained:
        raise UsageError(f"none of the configs trains {old}; add --config with one that does")
    config, test = root / trained[0], Path(f"tests/models/test_{like}.py")
    old_data = load_file(str(config))["data"]["class_path"]
    title = "".join(part.capitalize() for part in task.split("_"))
    new, new_data = f"{title}Module", f"{title}DataModule"
    module, _, base = old_data.rpartition(".")
    copied = old_data.startswith(f"{OWN}.")
    texts = {
        f"{OWN}/models/{task}.py": _text(root / source),
        f"configs/{task}.yaml": re.sub(r"\A(#.*\n)(?:#.*\n)*", rf"\1{MODELINE}\n", _text(config)),
        f"tests/models/test_{task}.py": _text(root / test)
        if project.covers(test)
        else TEST.format(own=OWN, task=task, name=new),
    }
    if copied:
        texts[f"{OWN}/datamodules/{task}.py"] = _text(root / f"{module.replace('.', '/')}.py")
    for path, text in texts.items():
        text = text.replace(old_data, f"{OWN}.datamodules.{task}.{new_data}")
        for before, after in ((f"{OWN}.models.{like}", f"{OWN}.models.{task}"), (old, new)):
            text = re.sub(rf"(?<!\w){re.escape(before)}(?!\w)", after, text)
        if copied:
            for before, after in ((module, f"{OWN}.datamodules.{task}"), (base, new_data)):
                text = re.sub(rf"(?<!\w){re.escape(before)}(?!\w)", after, text)
        texts[path] = re.sub(rf"(?<!\w){re.escape(config.name)}", f"{task}.yaml", text)
    if not copied:
        texts[f"{OWN}/datamodules/{task}.py"] = DATA.format(module=module, base=base, name=new_data)
    return _marked(texts, task)


def _tasks(root: Path) -> dict[str, str]:
    """Return the module class of each file of src/models/."""
    found = {
        path.stem: re.findall(r"(?m)^class (\w+Module)\b", _text(path)) for path in (root / OWN / "models").glob("*.py")
    }
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
