"""The whole configuration of a command: what it may hold, checked against it, and written out."""

from inspect import signature

import yaml
from jsonargparse import set_dumper
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from trainworks.cli.command_line import TOP_LEVEL, CommandLine
from trainworks.cli.parser import Parser, parse_config
from trainworks.errors import UsageError
from trainworks.runs.plain_data import DATA, MODULE
from trainworks.runs.yaml_files import UNWRITTEN, Config, dump_yaml, write_yaml
from trainworks.runtime.strategy import check_start_method

LOADING_ARGUMENTS = ("num_workers", "storage", "cache_dir", "cache_limit_gb")  # say nothing of what the data is
LIMITS = [f"limit_{part}_batches" for part in ("train", "val", "test", "predict")]
NUMBERS_OF_BATCHES = (*LIMITS, "overfit_batches", "val_check_interval")
BATCHES_HELP = "A whole number of batches, or a share of them with a decimal point."

set_dumper("yaml", dump_yaml)  # jsonargparse's own writes texts that it then reads as numbers, such as 1e3


def configuration_parser() -> Parser:
    """Return the parser that knows all keys of a configuration."""
    parser = Parser()
    parser.add_argument("--experiment", type=str | None, help=TOP_LEVEL["experiment"])
    parser.add_argument("--seed_everything", type=bool | int, default=True, help=TOP_LEVEL["seed_everything"])
    parser.add_argument("--tf32", type=bool, default=True, help=TOP_LEVEL["tf32"])
    parser.add_class_arguments(
        Trainer, "trainer", fail_untyped=False, instantiate=False, sub_configs=True, skip={*NUMBERS_OF_BATCHES}
    )
    for name in NUMBERS_OF_BATCHES:  # Lightning's type has float before int, and 1.0 means all of them
        usual = signature(Trainer).parameters[name].default
        parser.add_argument(f"--trainer.{name}", type=int | float | None, default=usual, help=BATCHES_HELP)
    parser.add_argument("--callbacks", type=dict[str, Callback | None], default={}, help=TOP_LEVEL["callbacks"])
    parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True)
    parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True, required=False)
    return parser


class Configuration:
    """A configuration of a command, whose references are resolved: checked, and with all defaults.

    An unknown key, a value that a key cannot have, and a training of nothing are a UsageError.
    """

    def __init__(self, config: Config, line: CommandLine) -> None:
        self.parser = configuration_parser()
        self.parsed = parse_config(self.parser, config)  # from which the classes are built
        self._check_ranges(line)
        check_start_method((config.get("trainer") or {}).get("strategy"))
        dumped = self.parser.dump(self.parsed, skip_unset=False)
        # the same as plain data; UNWRITTEN precedes a text that could be a function
        self.content: Config = yaml.safe_load(dumped.replace(UNWRITTEN, ""))
        self.text = write_yaml(self.content)
        data = dict(self.content.get("data") or {})
        data["init_args"] = {k: v for k, v in (data.get("init_args") or {}).items() if k not in LOADING_ARGUMENTS}
        # class path and arguments of module and data, for checkpoints
        self.described = {MODULE: self.content["model"], DATA: data if "class_path" in data else None}

    def _check_ranges(self, line: CommandLine) -> None:
        seed, trainer = self.parsed.seed_everything, self.parsed.trainer
        if not 0 <= seed < 2**32:
            raise UsageError(f"seed_everything must be at least 0 and below 2^32, got {seed}")
        for name in ("accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval"):
            if isinstance(number := trainer[name], int | float) and number <= 0:
                share = ", or a share above 0" if name == "val_check_interval" else ""
                raise UsageError(f"trainer.{name} must be at least 1{share}, got {number}")
        for limit in ("max_epochs", "max_steps", "limit_train_batches") if line.trains else ():
            if trainer[limit] == 0:
                raise UsageError(f"trainer.{limit} is 0, so nothing would be trained; write at least 1")
