"""The checkpoint from which a run continues: the newest that is whole."""

import re
import zipfile
from pathlib import Path
from typing import Any

from trainworks.errors import UsageError, first_line
from trainworks.runs.continuing.state import EXACT_STATE, Start
from trainworks.runs.files import recover
from trainworks.runs.plain_data import UntrustedFile, read_plain


def find_start(folder: Path, keeps_last: bool = True) -> Start:
    """Return where to continue: the newest whole checkpoint of a folder; damaged ones are named.

    The best one is saved in the middle of things, so that a run does not go on exactly from there: it is taken only
    where no other is whole, or the run keeps none.
    """
    recover(folder)
    last = [path for path in folder.glob("last*.ckpt") if re.fullmatch(r"last(-\d+)?\.ckpt", path.name)]
    last.sort(key=lambda path: int(path.stem.partition("-")[2] or 0))
    candidates = last + (list(folder.glob("best.ckpt")) if last or not keeps_last else [])
    for path in candidates:
        try:
            return read_start(path)
        except UntrustedFile:
            raise
        except UsageError as error:
            print(f"passed over: {error}")
    if candidates:
        raise UsageError(f"{folder} has no whole checkpoint left; start a new run under another --run_name")
    return Start()


def read_start(path: Path) -> Start:
    """Read a checkpoint whole, with its checksums."""
    try:
        if path.is_dir():
            from trainworks.runs.sharded import check_shards  # few runs need it

            check_shards(path)
        else:
            with zipfile.ZipFile(path) as file:
                if broken := file.testzip():
                    raise UsageError(f"{path}: damaged: wrong checksum of {broken}")
        content: Any = read_plain(path)
    except UsageError:
        raise
    except Exception as error:  # zip and pickle readers raise anything for a damaged file
        raise UsageError(f"{path}: truncated, damaged or no checkpoint: {first_line(error)}") from None
    wanted = {"loops", "optimizer_states"} | (set() if path.is_dir() else {"state_dict"})
    if not isinstance(content, dict) or not wanted <= content.keys():
        raise UsageError(f"{path}: not a checkpoint of a training")
    exact, loops = content.get(EXACT_STATE), content["loops"]["fit_loop"]
    step = loops["epoch_loop.state_dict"]["_batches_that_stepped"]  # several optimizers step more often
    within = loops["epoch_loop.batch_progress"]["current"]["ready"] > 0
    if exact is None:
        return Start(path, step, within, exact=False)
    ranks = len(exact["ranks"])
    return Start(path, step, within, exact["finished"], True, ranks, exact["metrics"], exact["device"])
