import contextlib
import sys
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

import trainworks.callbacks
import trainworks.datamodules
import trainworks.models
from trainworks.cli.request import defaults
from trainworks.root import import_all, own_modules
from trainworks.runs.yaml_files import Config

HELP = {
    "run_name": "Name of the run; the time it began by default.",
    "resume": "Continue a run: auto for the unfinished one of this name (or the newest), or its directory.",
    "ckpt_path": "Checkpoint to evaluate, export or merge; of evaluation by default the best of the newest run.",
    "calibrate": "validate: whether to fit a temperature and keep it in the checkpoint.",
    "input": "predict: a folder, a file, a list in a .txt or .csv file, a table, or - for standard input.",
    "output": "predict: a .csv or .parquet file; export: the file to write; schema: too; compare: a .csv or .md file.",
    "top_k": "predict --input: so many of the likeliest classes.",
    "probabilities": "predict --input: whether to write the probability of each class.",
    "draw": "predict --input: whether to draw masks and boxes over their images.",
    "flip": "predict --input: whether to take the mean over an image and its mirror image.",
    "format": "export: onnx (default) or pt2.",
    "latency": "export: whether to print how long a batch takes (default).",
    "num_folds": "repeat: train on so many folds.",
    "num_seeds": "repeat: train with so many seeds; sweep: train the best trials again with so many others.",
    "num_best": "sweep: how many trials --num_seeds repeats, 3 by default.",
    "sweep": "sweep: the file that says what to search.",
    "sort_by": "compare: the metric that decides the order; what the best checkpoint monitors by default.",
    "mode": "compare: whether min or max of it is best.",
    "task": "new: the name of a new task, whose files are written out of those of --like.",
    "like": "new: a task that there is, such as classifier.",
    "from": "add, update: a clone of the template.",
    "batch": "replay: the batch to look into, counted over all epochs from 0.",
}


def print_help(parser: LightningArgumentParser, words: list[str], config: Config) -> NoReturn:
    """Print the parser's help and, with a configuration, that of its model and data."""
    for package in (trainworks.callbacks, trainworks.datamodules, trainworks.models):  # help lists what is loaded
        for name in package.__all__:
            getattr(package, name)
    for line in import_all(own_modules()):
        print(line)
    for name, text in HELP.items():
        parser.add_argument(f"--{name}", type=str | None, help=text)
    stated = defaults()
    shown = {f"trainer.{key}": value for key, value in stated["trainer"].items() if not isinstance(value, dict)}
    parser.set_defaults({**shown, "seed_everything": stated["seed_everything"]})
    chosen = {key: config.get(key) for key in ("model", "data")}
    paths = {key: item.get("class_path") if isinstance(item, dict) else item for key, item in chosen.items()}
    for request in (words, *([f"--{key}.help={path}"] for key, path in paths.items() if path)):
        with contextlib.suppress(SystemExit):
            parser.parse_args(request)
    sys.exit(0)
