"""Continuing a run: from which checkpoint, and whether it is still the same training."""

import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from trainworks.errors import UsageError
from trainworks.runs.files import recover
from trainworks.runs.start import Start
from trainworks.runs.yaml_files import Config, flatten

FREE = re.compile(  # changes that leave the training as it is
    r"data\.init_args\.(num_workers|storage|cache_dir|cache_limit_gb)$|"
    r"callbacks\.(progress|last|predictions|notes|images|norms|speed|figures|trace|samples|checkpointing)\b|"
    r"trainer\.(logger|log_every_n_steps|enable_progress_bar|enable_model_summary|max_time|profiler|default_root_dir|"
    r"use_distributed_sampler|num_sanity_val_steps|detect_anomaly|limit_test_batches|limit_predict_batches)\b"
)
LENGTHS = ("trainer.max_epochs", "trainer.max_steps")
OTHER_LAYOUT = re.compile(
    r"trainer\.(accelerator|devices|num_nodes|strategy)\b|callbacks\.(compile|channels_last)\b|tf32$"
)
OTHER_PLACE = re.compile(r"data\.init_args\.(root|csv_file|train|val|test)$")


def find_start(folder: Path, keeps_last: bool = True) -> Start:
    """Return where to continue: the newest whole checkpoint of a folder; damaged ones are named.

    The best one is saved in the middle of things, so that a run does not go on exactly from there: it is taken only
    where no other is whole, or the run keeps none.
    """
    recover(folder)
    names = {path: re.fullmatch(r"last(?:-(\d+))?\.ckpt", path.name) for path in folder.glob("last*.ckpt")}
    ages = {path: int(match[1] or 0) for path, match in names.items() if match}
    best = list(folder.glob("best.ckpt")) if ages or not keeps_last else []
    candidates = [*sorted(ages, key=ages.__getitem__), *best]
    damaged = []
    for path in candidates:
        try:
            return read_start(path)
        except UsageError as error:
            damaged.append(str(error))
            print(f"passed over: {error}")
    if damaged:
        raise UsageError(f"{folder} has no whole checkpoint left; start a new run under another --run_name")
    return Start()


def read_start(path: Path) -> Start:
    """Read a checkpoint whole, with its checksums."""
    try:
        if path.is_dir():
            from trainworks.runs.sharded import check_shards, read_plain  # few runs need it

            check_shards(path)
            content: Any = read_plain(path)
        else:
            with zipfile.ZipFile(path) as file:
                if broken := file.testzip():
                    raise UsageError(f"{path}: damaged: wrong checksum of {broken}")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UsageError:
        raise
    except Exception as error:  # zip and pickle readers raise anything for a damaged file
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise UsageError(f"{path}: truncated, damaged or no checkpoint: {reason}") from None
    wanted = {"loops", "optimizer_states"} | (set() if path.is_dir() else {"state_dict"})
    if not isinstance(content, dict) or not wanted <= content.keys():
        raise UsageError(f"{path}: not a checkpoint of a training")
    exact, loops = content.get("exact"), content["loops"]["fit_loop"]
    step = loops["epoch_loop.state_dict"]["_batches_that_stepped"]  # several optimizers step more often
    within = loops["epoch_loop.batch_progress"]["current"]["ready"] > 0
    if exact is None:
        return Start(path, step, within, exact=False)
    ranks = len(exact["ranks"])
    return Start(path, step, within, exact["finished"], True, ranks, exact["metrics"], exact["device"])


def check_same(stored: Config, wanted: Config, defaults: tuple[Path, Config] = (Path(), {})) -> list[str]:
    """Refuse changes to a run's configuration that the training depends on; return remarks about the others.

    `defaults` are the project's file of them and its content: where a change comes from there, the file is named.
    """
    remarks, refused = [], []
    before, after, of_file = flatten(stored), flatten(wanted), flatten(defaults[1])
    spans_all = any(re.match(r"model\..*scheduler.*\.total_steps$", key) and before[key] is None for key in before)
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old == new or FREE.match(key):
            continue
        change = f"{key}: {old} -> {new}"
        is_longer = isinstance(old, int) and isinstance(new, int) and (new > old >= 0 or new == -1)
        if OTHER_LAYOUT.match(key):
            remarks.append(f"{change} (the result will not be bit by bit the same)")
        elif OTHER_PLACE.match(key):
            remarks.append(f"{change} (taken for the same data at another place)")
        elif key not in LENGTHS or not is_longer:
            stands_there = f" (of {defaults[0]})" if new is not None and of_file.get(key) == new else ""
            refused.append(change + stands_there)
        elif spans_all:
            refused.append(f"{change} (the learning-rate schedule spans all epochs)")
        else:
            new_epoch = ", which begins with a new epoch and is not bit by bit the same" if "steps" in key else ""
            remarks.append(f"{change} (a longer training{new_epoch})")
    if refused:
        listed = "".join(f"\n  {change}" for change in refused[:12])
        more = f"\n  and {len(refused) - 12} more" if len(refused) > 12 else ""
        raise UsageError(
            f"the run cannot continue with other settings; leave them as they are or start a new run:{listed}{more}"
        )
    return remarks
