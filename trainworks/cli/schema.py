"""The JSON schema of configurations: jsonargparse's own, with what its generator lacks."""

import importlib
import json
import pkgutil
import re
import warnings
from pathlib import Path
from types import FunctionType
from typing import Any

from jsonargparse._completions_jsonschema import ParserJsonschema
from jsonargparse._typehints import get_all_subclass_paths, get_callable_return_type

import trainworks
from trainworks.cli.configuration import configuration_parser
from trainworks.cli.process import settled_process
from trainworks.errors import UsageError
from trainworks.root import OWN, ROOT, SCHEMA
from trainworks.runs.class_paths import import_path

Schema = dict[str, Any]

LIBRARIES = (  # whose classes are listed, beside those that are imported anyway
    *("torch.nn", "torch.optim", "torch.optim.lr_scheduler", "torch.optim.swa_utils", "torch.utils.data"),
    *("torchvision.datasets", "torchvision.models.detection", "torchvision.models.segmentation"),
    *("torchvision.transforms.v2", "torchmetrics.classification", "torchmetrics.image"),
)
INNER = re.compile(r"(^|\.)_|datapipe|^numpy\.|^torch\.(ao|export|fx|jit)\.")  # nobody names these in a configuration
REFERENCE: Schema = {"type": "string", "pattern": r"\$\{"}  # a value that stands elsewhere


@settled_process()
def write_schema(output: str | None) -> int:
    """Write the schema with which editors check configurations to a file, configs/schema.json if None; return 0.

    The configs point to it. It knows the classes of this project, torch, torchvision, torchmetrics and Lightning, and
    what their arguments mean. Required ones may be missing: an overlay or the command line can bring them.
    """
    file = Path(output or SCHEMA)
    if not file.parent.is_dir():
        raise UsageError(f"--output: {file.parent} is no folder")
    _import_all()
    with warnings.catch_warnings(action="ignore"):  # of what libraries have and advise against
        whole = _loosened(_Generator().generate(configuration_parser()))  # type: ignore[no-untyped-call]
    whole["$defs"]["reference"] = REFERENCE
    file.write_text(json.dumps(whole, separators=(",", ":")), encoding="utf-8")
    print(f"{file}: editors with a YAML language server complete and check configurations with it")
    return 0


def _import_all() -> None:
    """Import what has classes to list, of libraries, of the library and of the project; print what cannot be."""
    ours = [module.name for module in pkgutil.walk_packages(trainworks.__path__, "trainworks.")]
    ours = [name for name in ours if name.split(".")[1] not in ("cli", "tests", "testing")]
    files = [file.relative_to(ROOT).with_suffix("") for file in sorted((ROOT / OWN).rglob("*.py"))]
    for name in [*LIBRARIES, *ours, *(".".join(file.parts).removesuffix(".__init__") for file in files)]:
        try:
            importlib.import_module(name)
        except Exception as error:  # of a package that is not installed, or a module that is being written
            print(f"left out {name}: {type(error).__name__}: {error}")


class _Generator(ParserJsonschema):
    """jsonargparse's generator, with the classes that a person would name, and those that were not imported."""

    def callable_schema(self, typehint: Any, action: Any) -> Schema:
        """Describe what is called later, such as an optimizer; that of jsonargparse 4.53 knows no union here."""
        returned = get_callable_return_type(typehint)  # type: ignore[no-untyped-call]
        return {"anyOf": [{"type": "string"}, *([self.typehint_schema(returned, action)] if returned else [])]}

    def subclass_def(self, class_type: type, action: Any) -> Schema:
        """Describe a class: its path, a path and arguments, or only arguments, for the class in a file before."""
        known = [] if issubclass(class_type, type) else get_all_subclass_paths(class_type)  # metaclasses raise there
        known = [path for path in known if not INNER.search(path) and import_path(path) is not None]
        modules = sorted({path.rpartition(".")[0] for path in known})
        other = [f"{module}.{name}" for module in modules for name in _makers(module, class_type)]
        elsewhere = {"type": "string", "not": {"pattern": f"^({'|'.join(map(re.escape, modules))})\\.[^.]*$"}}
        arguments = {"init_args": {"type": "object"}, "dict_kwargs": {"type": "object"}}
        unlisted = {"anyOf": [{"enum": sorted(set(other) - set(known))}, elsewhere]}
        return {
            "anyOf": [
                {"anyOf": [{"enum": sorted({*other, *known})}, elsewhere]},
                {"type": "object", "properties": arguments},
                *(self.class_path_schema(path, action) for path in known),
                {"type": "object", "properties": {"class_path": unlisted, **arguments}},
            ]
        }


def _makers(module: str, wanted: type) -> list[str]:
    """Return a module's names of such classes, of functions that say what they make, and of values that are one."""
    return [
        name
        for name, found in vars(importlib.import_module(module)).items()
        if (issubclass(type(found), type) and issubclass(found, wanted))  # isinstance makes some deprecated values warn
        or (type(found) is FunctionType and found.__annotations__.get("return"))
        or issubclass(type(found), wanted)  # torch.float32, for one
    ]


def _loosened(node: Any) -> Any:
    """Return a schema that lets references stand for values, `key+` append, and required arguments come later."""
    if isinstance(node, list):
        return [_loosened(item) for item in node]
    if not isinstance(node, dict):
        return node
    properties = node.get("properties")
    node = {key: _loosened(value) for key, value in node.items() if key not in ("properties", "required")}
    if properties is not None:
        named = {key: _or_reference(key, _loosened(value)) for key, value in properties.items() if key != "$schema"}
        node |= {"properties": named, "patternProperties": {r"\+$": {}}, "additionalProperties": False}
        node |= {"required": ["class_path"]} if "class_path" in properties else {}
    return node


def _or_reference(key: str, value: Schema) -> Schema:
    if key == "class_path":
        return value
    description = {"description": value.pop("description")} if "description" in value else {}
    return {"anyOf": [value, {"$ref": "#/$defs/reference"}], **description}
