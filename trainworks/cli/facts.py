"""What a configuration leaves to the data: it refers to an argument of the data that it does not state."""

from lightning.pytorch import LightningDataModule

from trainworks.cli.config import DATA_REFERENCE, left_to_data, state
from trainworks.cli.parser import Parser, mistakes_in_one_line, parse_config
from trainworks.errors import UsageError
from trainworks.runs.yaml_files import Config


def build_data(config: Config) -> LightningDataModule:
    """Build the datamodule alone, without those arguments that refer to what only the data can tell."""
    if not config.get("data"):
        raise UsageError("data is required; write it in the configuration")
    names = left_to_data(config)
    data = dict(state(config, dict.fromkeys(names))["data"])
    unresolved = config["data"].get("init_args") or {}
    waiting = {key for key, value in unresolved.items() if names & set(DATA_REFERENCE.findall(str(value)))}
    data["init_args"] = {key: value for key, value in data["init_args"].items() if key not in waiting | names}
    parser = Parser()
    parser.add_subclass_arguments(LightningDataModule, "data")
    parsed = parse_config(parser, {"data": data})
    with mistakes_in_one_line():
        datamodule: LightningDataModule = parser.instantiate_classes(parsed).data
    datamodule.wanted = names  # type: ignore[attr-defined]
    return datamodule


def fill_in(config: Config) -> Config:
    """Read from the data what the configuration leaves to it, and resolve all references."""
    if not (names := left_to_data(config)):
        return config
    datamodule = build_data(config)
    with mistakes_in_one_line():
        facts = datamodule.facts() if hasattr(datamodule, "facts") else {}
    stated = {name: getattr(datamodule, name, None) for name in names - facts.keys()}  # by their own defaults
    facts |= {name: value for name, value in stated.items() if isinstance(value, int | float | str)}
    if unknown := sorted(names - facts.keys()):
        kind = type(datamodule).__name__
        raise UsageError(f"data.{unknown[0]} is not set, and {kind} cannot tell it from the data; write a value for it")
    kept = {*names, "class_names"}  # which nothing has to refer to: their order is the network's
    return state(config, {name: value for name, value in facts.items() if name in kept})
