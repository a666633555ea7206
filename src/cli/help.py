import contextlib
import sys
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

import src.callbacks
import src.datamodules
import src.models
from src.cli.request import DEFAULTS
from src.runs.yaml_files import Config, load_file


def print_help(parser: LightningArgumentParser, words: list[str], config: Config) -> NoReturn:
    """Print the parser's help and, with a configuration, that of its model and data."""
    for package in (src.callbacks, src.datamodules, src.models):  # help lists the classes that are loaded
        for name in package.__all__:
            getattr(package, name)
    defaults = load_file(str(DEFAULTS))
    shown = {f"trainer.{key}": value for key, value in defaults["trainer"].items() if not isinstance(value, dict)}
    parser.set_defaults({**shown, "seed_everything": defaults["seed_everything"]})
    requests = [words]
    if config:
        chosen = {key: config.get(key) for key in ("model", "data")}
        paths = {key: item.get("class_path") if isinstance(item, dict) else item for key, item in chosen.items()}
        requests += [[f"--{key}.help={path}"] for key, path in paths.items() if path]
    for request in requests:
        with contextlib.suppress(SystemExit):
            parser.parse_args(request)
    sys.exit(0)
