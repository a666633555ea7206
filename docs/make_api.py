"""Write docs/api.md, the page of what is public, from docstrings, without importing torch.

python -m docs.make_api     writes the page; a test sees that it is up to date
"""

import ast
import re
from collections.abc import Iterator
from functools import cache

from trainworks.cli.command import command_names, commands_with, find_command
from trainworks.lazy import public_names
from trainworks.root import ROOT

PAGE = ROOT / "docs" / "api.md"
PACKAGES = {  # whose names are public, and what they are for
    "trainworks": "What modules, datamodules and callbacks of your own import",
    "trainworks.models": "Around modules",
    "trainworks.models.losses": "Losses of several terms",
    "trainworks.models.metrics": "Metrics that torchmetrics lacks",
    "trainworks.datamodules": "Datamodules that need no code",
    "trainworks.datamodules.datasets": "Datasets that `load_splits` may return",
    "trainworks.datamodules.transforms": "Transforms of batches, and ways to collate one",
    "trainworks.callbacks": "Callbacks",
    "trainworks.optim": "Optimizers and schedulers",
    "trainworks.testing": "What tests of a project share",
}
CLASS_PATHS = ("trainworks.runtime.fsdp.FSDPStrategy", "trainworks.runs.checkpoint_io.DurableCheckpointIO")
BASES = ("trainworks.BaseModule", "trainworks.BaseDataModule", "trainworks.TabularDataModule")
CONSTANTS = {  # which have no docstring
    "PLAIN": "Words that switch off figures and notes, a second each.",
    "QUICK": "Words that train two batches of one epoch, without figures.",
    "ROOT": "The folder of train.py.",
    "Train": "The type of the fixtures `train` and `train_process`, which return a `Result`.",
}
MAY_HAVE = {  # methods that a module may have, and what they are for
    "outputs(inputs)": "Returns what `export` writes into the file: a tensor, a tuple or a mapping of tensors.",
    "export_inputs(method, count)": "Returns inputs for `export` that are no samples of the data, or None for samples.",
    "results(predictions, class_names)": "Returns one result for each prediction of `step`.",
    "predict_step(batch, batch_idx)": "Returns columns by name, tensors, or results, where `results` cannot.",
    "temperature": "A number that divides the logits, which `validate --calibrate true` fits.",
    "threshold": "A class attribute: what `results` takes as the threshold, which `validate --threshold` finds.",
}
KEYS = {
    "seed_everything": "The seed of the run, 0 by default.",
    "experiment": "The name of the experiment. It is the first file's name by default.",
    "trainer": "Arguments of Lightning's Trainer.",
    "model": "Class path and arguments of the module.",
    "data": "Class path and arguments of the datamodule. It may be left out where the module has loaders.",
    "callbacks": "Callbacks by name, each with class path and arguments. `NAME: null` switches one off.",
    "tf32": "Whether float32 products may be TF32 on a GPU.",
}
CHECKPOINT = {
    "state_dict": "The weights and buffers, by name.",
    "module": "Class path and arguments of the module.",
    "data": "Class path and arguments of the datamodule.",
    "<name of the datamodule's class>": "`class_counts`, `class_names`, `input_shape`, `input_dtype`, `columns`.",
    "metrics": "What the validation of these weights logged, by name; empty if they were not validated.",
    "epoch": "The epoch in which it was saved.",
    "global_step": "Optimizer steps so far.",
    "pytorch-lightning_version": "The version of Lightning.",
    "optimizer_states": "One for each optimizer.",
    "lr_schedulers": "One for each scheduler.",
    "loops": "Lightning's counters.",
    "callbacks": "The states of the callbacks.",
    "hparams_name": "Lightning's own, of modules that save hyperparameters.",
    "hyper_parameters": "The same.",
    "exact": "In last.ckpt: what an exact continuation needs.",
}
ENVIRONMENT = {
    "TRAIN_DEFAULTS": "A file in place of `configs/defaults.yaml`, as for a cluster.",
    "OMP_NUM_THREADS": "The number of threads, in place of the one that the run chooses.",
    "OMP_WAIT_POLICY": "`active` lets threads spin while they wait.",
    "TORCH_HOME": "torch's own: where downloaded weights are kept.",
    "CUDA_VISIBLE_DEVICES": "CUDA's own: which GPUs there are.",
    "MASTER_PORT": "torch's own: the port of the first process.",
}
HEAD = """# What is public

Written by `python -m docs.make_api` from the docstrings; a test sees that it is up to date.

A project may import these names, name these class paths in its configs, and rely on these keys, commands and
options. Anything else in `trainworks/` may change in every version. A public name that goes stays for one minor
version and warns when it is used; [CHANGELOG.md](../CHANGELOG.md) names it.

A name that a package hands out is imported from the package (`from trainworks import BaseModule`), and its class path
is the package and the name (`trainworks.callbacks.Freeze`). The arguments of a class stand in its docstring; for a
module, `python train.py --model.help src.models.classifier.ClassifierModule` prints them.
"""


@cache
def public() -> dict[str, str]:
    """Return every public name with its package in front, and the module in which it is defined."""
    found = {}
    for package in PACKAGES:
        file = ROOT.joinpath(*package.split(".")) / "__init__.py"
        names = public_names(str(file)) if file.exists() else {name: package for name in _names_in(package)}
        found |= {f"{package}.{name}": module for name, module in names.items()}
    return found | {path: path.rpartition(".")[0] for path in CLASS_PATHS}


def first_sentence(path: str) -> str:
    """Return the first sentence of a public name's docstring; an empty text if it has none."""
    name = path.rpartition(".")[2]
    node = _definition(public()[path], name)
    return CONSTANTS.get(name, "") if node is None else _sentence(node)


def methods(path: str) -> Iterator[tuple[str, str]]:
    """Yield the methods and properties that a public class defines, but Lightning's hooks, each with what it does."""
    node = _definition(public()[path], path.rpartition(".")[2])
    assert isinstance(node, ast.ClassDef)
    inherited = [parent.id for parent in node.bases if isinstance(parent, ast.Name)]
    for item in [*node.body, *_methods_of("trainworks.datamodules.inputs", "InputReader", inherited)]:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith(("_", "on_")):
            arguments = [argument.arg for argument in item.args.args if argument.arg != "self"]
            is_property = any(ast.unparse(decorator) == "property" for decorator in item.decorator_list)
            yield item.name if is_property else f"{item.name}({', '.join(arguments)})", _sentence(item)


def page() -> str:
    """Return the page."""
    sections: list[tuple[str, str, str, dict[str, str]]] = []  # title, text, first column, rows
    for package, text in PACKAGES.items():
        paths = sorted((path for path in public() if path.rpartition(".")[0] == package), key=str.lower)
        rows = {path.rpartition(".")[2]: first_sentence(path) for path in paths}
        sections.append((f"`{package}`", f"{text}.", "Name", rows))
    rows = {path: first_sentence(path) for path in CLASS_PATHS}
    sections.append(("Further class paths", "Of the trainer's `strategy` and `plugins`.", "Class path", rows))
    text = "What a task overrides or calls, beside what Lightning's class has."
    for path in BASES:
        sections.append((f"Methods of `{path.rpartition('.')[2]}`", text, "Method", dict(methods(path))))
    text = "None of it is required. `load_model` adds `predict(x)` and `class_names`."
    sections.append(("What a module may have", text, "Method or attribute", MAY_HAVE))
    text = "The README says what they do. Without a command train.py fits and then tests."
    sections.append(("Commands", text, "Command", _commands()))
    text = "They are no part of the configuration. Any other `--key VALUE` changes the configuration."
    sections.append(("Options", text, "Option", _options()))
    sections.append(("Keys of a configuration", "At the top level; others are refused.", "Key", KEYS))
    text = "Tensors and plain data, which torch.load reads with `weights_only=True`. A key `python_types` may say "
    text += "which of them were values of NumPy, paths or deques. The file's `class_paths.json` names its classes."
    sections.append(("What a checkpoint holds", text, "Key", CHECKPOINT))
    text = "Beside those that SLURM, torchrun and the libraries set and read."
    sections.append(("Environment variables", text, "Variable", ENVIRONMENT))
    return "\n".join([HEAD, *(_section(*section) for section in sections)])


def _section(title: str, text: str, column: str, rows: dict[str, str]) -> str:
    table = [f"| `{name}` | {meaning} |".replace("  |", " |") for name, meaning in rows.items()]
    return "\n".join([f"## {title}\n", f"{text}\n", f"| {column} | |", "| --- | --- |", *table, ""])


def _commands() -> dict[str, str]:
    """Return what each command does, and which options it takes."""
    commands = {name: find_command(name) for name in command_names()}
    takes = {name: ", ".join(f"`--{option.name}`" for option in item.options) for name, item in commands.items()}
    return {name: f"{item.summary} {takes[name]}".strip() for name, item in commands.items()}


def _options() -> dict[str, str]:
    """Return what the help says of each option, by command where several commands have it."""
    rows: dict[str, str] = {}
    for name in command_names():
        for option in find_command(name).options:
            same = [other for other in command_names() if find_command(other).option(option.name) == option]
            rows[f"--{option.name}"] = rows.get(f"--{option.name}", "")
            if name == same[0]:
                of = "" if same == commands_with(option.name) else f"{', '.join(same)}: "
                rows[f"--{option.name}"] = "; ".join(filter(None, [rows[f"--{option.name}"], of + option.help]))
    return rows


@cache
def _tree(module: str) -> ast.Module:
    place = ROOT.joinpath(*module.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _names_in(module: str) -> list[str]:
    """Return what a module defines that has no underscore; of `trainworks.testing` the constants named above, too."""
    body = _tree(module).body
    defined = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    constants = CONSTANTS if module == "trainworks.testing" else ()
    return sorted([*constants, *(name for name in defined if not name.startswith("_"))])


def _definition(module: str, name: str) -> ast.FunctionDef | ast.ClassDef | None:
    found = [node for node in _tree(module).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return next((node for node in found if node.name == name), None)


def _methods_of(module: str, name: str, wanted: list[str]) -> list[ast.stmt]:
    node = _definition(module, name)
    return node.body if isinstance(node, ast.ClassDef) and name in wanted else []


def _sentence(node: ast.FunctionDef | ast.ClassDef) -> str:
    """Return the first sentence of a docstring in one line."""
    text = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z`])", text)[0].replace("|", "\\|")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
