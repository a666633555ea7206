"""Configuration files in layers: the library's defaults, the project's, those that were named; nothing heavy."""

import os
from pathlib import Path

from trainworks.cli.config import merge
from trainworks.errors import UsageError
from trainworks.root import LIBRARY, ROOT
from trainworks.runs.yaml_files import Config, load_file

DEFAULTS_VARIABLE = "TRAIN_DEFAULTS"  # names another file than configs/defaults.yaml, as for a cluster
SECTIONS = ("callbacks", "trainer")  # where nothing is written under one, nothing changes
UNUSED = ("optimizer", "lr_scheduler", "ckpt_path", "weights_only")  # null in the files that LightningCLI writes


def own_defaults() -> tuple[Path, Config]:
    """Return the file of the project's own defaults and its content, empty where there is none and nobody named it."""
    named, path = os.environ.get(DEFAULTS_VARIABLE), ROOT / "configs" / "defaults.yaml"
    if named is not None:
        return Path(named), load_file(named, DEFAULTS_VARIABLE, may_be_empty=True)
    return path, load_file(str(path), "the defaults", may_be_empty=True) if path.exists() else {}


def defaults() -> Config:
    """Return the library's defaults with the project's own laid over them."""
    return _laid_over(load_file(str(LIBRARY / "defaults.yaml")), own_defaults()[1])


def merged(files: list[tuple[str, Config]]) -> Config:
    """Return the defaults with all files laid over them; the whole configuration of a run needs no defaults."""
    config = {} if files and saved_by_run(Path(files[0][0])) else defaults()
    for _, content in files:
        config = _laid_over(config, content)
    return {key: value for key, value in config.items() if value is not None or key not in UNUSED}


def _laid_over(config: Config, content: Config) -> Config:
    stated = {key: value for key, value in content.items() if value is not None or key not in SECTIONS}
    return merge(config, stated)


def log_root(config: Config) -> str:
    """Return the folder that holds all experiments."""
    trainer = config.get("trainer")
    root = trainer.get("default_root_dir") if isinstance(trainer, dict) else None
    if root is None and isinstance(trainer, dict):  # as LightningCLI writes it
        root = defaults()["trainer"]["default_root_dir"]
    if not isinstance(root, str):
        got = f"got {root!r} from trainer: {trainer!r:.60}"
        raise UsageError(f"trainer.default_root_dir must be a folder's name, {got}")
    return root


def saved_by_run(path: Path) -> bool:
    """Whether a file is the whole configuration that a run saved."""
    return path.name == "config.yaml" and (path.parent / "run.json").is_file()


def experiment_of(path: str, content: Config) -> str:
    """Return the name of a configuration file's experiment."""
    return str(content.get("experiment", Path(path).stem))
