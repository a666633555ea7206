"""What a configuration leaves to the data: it refers to an argument of the data that it does not state."""

import inspect

import yaml
from lightning.pytorch import LightningDataModule, seed_everything

from trainworks.cli.config import DATA_REFERENCE, left_to_data, with_data
from trainworks.cli.parser import Parser, mistakes_in_one_line, parse_config
from trainworks.errors import UsageError
from trainworks.runs.yaml_files import Config, flatten, short_key


def build_data(config: Config) -> LightningDataModule:
    """Build the datamodule alone, without those arguments that refer to what only the data can tell."""
    if not config.get("data"):
        raise UsageError("data is required; write it in the configuration")
    names = left_to_data(config)
    data = dict(with_data(config, dict.fromkeys(names))["data"])
    left_out = names | _dependent_arguments(config, names)
    data["init_args"] = {key: value for key, value in data["init_args"].items() if key not in left_out}
    parser = Parser()
    parser.save_plain_hyperparameters(LightningDataModule, data)
    parser.add_subclass_arguments(LightningDataModule, "data", fail_untyped=False)
    parsed = parse_config(parser, {"data": data})
    with mistakes_in_one_line():
        datamodule: LightningDataModule = parser.instantiate(parsed).data
    datamodule.wanted = names  # type: ignore[attr-defined]
    return datamodule


def fill_in(config: Config) -> tuple[Config, LightningDataModule | None]:
    """Return the whole configuration, with what it leaves to the data, and the datamodule that was asked for that.

    It knows the answers and has listed its samples; None where nothing was left to it, or it cannot be asked.
    """
    if not (names := left_to_data(config)):
        return config, None
    seed_all(config)
    datamodule = build_data(config)
    with mistakes_in_one_line():
        facts = datamodule.facts() if hasattr(datamodule, "facts") else {}
    stated = {name: getattr(datamodule, name, None) for name in names - facts.keys()}  # by their own defaults
    found = facts | {name: value for name, value in stated.items() if isinstance(value, int | float | str)}
    if unknown := sorted(names - found.keys()):
        name, kind = unknown[0], type(datamodule)
        where = [short_key(key) for key, value in flatten(config).items() if name in DATA_REFERENCE.findall(str(value))]
        takes = name in inspect.signature(kind).parameters
        how = "write a value for it" if takes else f"write --{' N --'.join(where)} N in its place"
        raise UsageError(f"data.{name} is not set, and {kind.__name__} cannot tell it from the data; {how}")
    kept = {*names, "class_names"}  # which nothing has to refer to: their order is the network's
    answers = {name: value for name, value in found.items() if name in kept}
    whole = with_data(config, answers)
    if not hasattr(datamodule, "facts"):
        return whole, None
    if dependent := _dependent_arguments(config, names):  # they are built from the answers, as all arguments are
        answers |= {name: getattr(build_data(whole), name) for name in dependent}
    for name, value in answers.items():
        setattr(datamodule, name, value)
    return whole, datamodule


def _dependent_arguments(config: Config, names: set[str]) -> set[str]:
    """Return the data's arguments that refer to others which only the data can tell, such as a transform's."""
    arguments = config["data"].get("init_args") or {}
    return {key for key, value in arguments.items() if names & set(DATA_REFERENCE.findall(str(value)))}


def seed_all(config: Config) -> None:
    """Seed all generators as for the training: what the data draws when it is listed may be trained on."""
    seed = yaml.safe_load(str(config.get("seed_everything")))
    if isinstance(seed, int) and seed is not False and 0 <= seed < 2**32:
        seed_everything(None if seed is True else seed, workers=True)
