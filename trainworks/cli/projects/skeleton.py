"""A new task made from an existing one: names are replaced, and what to fill in is marked."""

import re
from pathlib import Path

from trainworks.cli.projects.closure import CLASS_PATH, files_of
from trainworks.cli.projects.project import Project
from trainworks.errors import UsageError, did_you_mean
from trainworks.root import OWN
from trainworks.runs.yaml_files import load_file

FILL_INS = (  # in the order of filling in: the file, the beginning of the line that is marked, and what to write
    (f"{OWN}/datamodules/{{task}}.py", r"def load_splits\(", "your samples and targets"),
    (f"{OWN}/models/{{task}}.py", r"def (?:training_)?step\(", "loss, predictions and targets of one batch"),
    (f"{OWN}/models/{{task}}.py", r"def (?:outputs|results|predict_step)\(", "what the network says of new inputs"),
    ("configs/{task}.yaml", r"net:", "network, loss and metrics"),
    ("tests/models/test_{task}.py", r"(?:def test_|@pytest)", "what must hold for your task"),
)
MODELINE = "# yaml-language-server: $schema=schema.json"  # names the schema for editors

DATA_TEMPLATE = '''from dataclasses import dataclass
from typing import Any

from {module} import {base}


@dataclass(kw_only=True, eq=False, repr=False)
class {name}({base}):
    """Say what a sample is, its shape and values, and where it comes from."""

    def load_splits(self) -> dict[str, Any]:
        """Return the datasets called "train", "val" and "test", or one called "all"."""
        return super().load_splits()
'''

TEST_TEMPLATE = '''"""What must hold for {task}; tests/test_configs.py trains its config."""

from {own}.models.{task} import {name}
from trainworks.testing import ROOT


def test_the_config_trains_it() -> None:
    assert f"{{{name}.__module__}}.{name}" in (ROOT / "configs/{task}.yaml").read_text(encoding="utf-8")
'''


def skeleton(task: str, like: str, project: Project) -> dict[str, str]:
    """Return the files of a new task, such as `angle`, made like the existing one in a module of src/models/.

    The first config of the project that trains the existing task is copied. A datamodule of the library becomes the
    base class of a new one; the test of the existing task is copied if the project has everything that it needs. A
    module that is not there, or that no config trains, is a UsageError.
    """
    root, tasks = project.template, _tasks(project.template)
    if like not in tasks:
        near = did_you_mean(like, tasks)
        raise UsageError(f"--like {like} is no task{near}; there are {', '.join(sorted(tasks))}")
    source, old = f"{OWN}/models/{like}.py", tasks[like]
    trained = [name for name in project.configs if source in files_of(CLASS_PATH.findall(_text(root / name)), root)]
    if not trained:
        raise UsageError(f"none of the configs trains {old}; add --config with one that does")
    config, test = root / trained[0], f"tests/models/test_{like}.py"
    old_data = load_file(str(config))["data"]["class_path"]
    title = "".join(part.capitalize() for part in task.split("_"))
    new, new_data = f"{title}Module", f"{title}DataModule"
    module, _, base = old_data.rpartition(".")
    texts = {
        f"{OWN}/models/{task}.py": _text(root / source),
        f"configs/{task}.yaml": re.sub(r"\A(#.*\n)(?:#.*\n)*", rf"\1{MODELINE}\n", _text(config)),
        f"tests/models/test_{task}.py": _text(root / test)
        if test in project.tests
        else TEST_TEMPLATE.format(own=OWN, task=task, name=new),
    }
    renames = {f"{OWN}.models.{like}": f"{OWN}.models.{task}", old: new, config.name: f"{task}.yaml"}
    if old_data.startswith(f"{OWN}."):
        renames |= {module: f"{OWN}.datamodules.{task}", base: new_data}
        texts[f"{OWN}/datamodules/{task}.py"] = _text(root / f"{module.replace('.', '/')}.py")
    else:
        texts[f"{OWN}/datamodules/{task}.py"] = DATA_TEMPLATE.format(module=module, base=base, name=new_data)
    for path, text in texts.items():
        text = text.replace(old_data, f"{OWN}.datamodules.{task}.{new_data}")
        for before, after in renames.items():
            text = re.sub(rf"(?<!\w){re.escape(before)}(?!\w)", after, text)
        texts[path] = text
    return _marked(texts, task)


def _tasks(root: Path) -> dict[str, str]:
    """Return the module class of each file of src/models/."""
    files = (root / OWN / "models").glob("*.py")
    classes = {file.stem: re.search(r"(?m)^class (\w+Module)\b", _text(file)) for file in files}
    return {name: found[1] for name, found in classes.items() if found}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _marked(texts: dict[str, str], task: str) -> dict[str, str]:
    """Add a numbered comment above each line to fill in; not every task has all of them."""
    lines = [(path.format(task=task), rf"(?m)^( *)(?={start})", what) for path, start, what in FILL_INS]
    lines = [line for line in lines if re.search(line[1], texts[line[0]])]
    for number, (path, pattern, what) in enumerate(lines, start=1):
        comment = rf"\1# FILL IN {number} of {len(lines)}: {what}\n\1"
        texts[path] = re.sub(pattern, comment, texts[path], count=1)
    return texts
