from typing import Any

from trainworks.cli.command import TRUST, Command
from trainworks.errors import UsageError


def find_batch_size(session: Any) -> None:
    """Try larger and larger batches with Lightning's tuner, and print how to keep the one that the config asks for."""
    from lightning.pytorch.tuner.tuning import Tuner

    trainer, module, datamodule = session.trainer, session.model, session.datamodule
    owner, key = (module, "model") if datamodule is None else (datamodule, "data")
    size = getattr(owner, "batch_size", owner.hparams.get("batch_size"))
    if not isinstance(size, int):
        what = f"batch_size or hparams.batch_size, which {type(owner).__name__} has not"
        raise UsageError(f"find_batch_size needs data with an attribute {what}")
    wanted, least = size * trainer.accumulate_grad_batches, trainer.world_size
    trainer.accumulate_grad_batches = 1
    if hasattr(owner, "batch_size"):  # Lightning's first trial takes the loader that is there already
        owner.batch_size = least
    if "batch_size" in owner.hparams:
        owner.hparams["batch_size"] = least
    found = Tuner(trainer).scale_batch_size(module, datamodule=datamodule, init_val=least, max_trials=30)
    print(f"\n{found} samples fit into memory at once (or are all there are)")
    fitting = range(least, min(wanted, found or least) + 1, least)
    size = max((number for number in fitting if wanted % number == 0), default=least)
    if size == wanted:
        print(f"the batch of {wanted} fits as it is")
    else:
        print(f"for batches of {wanted}: --{key}.batch_size {size} --trainer.accumulate_grad_batches {wanted // size}")


COMMAND = Command(
    find_batch_size,
    "Find how many samples fit into memory at once.",
    needs="trainer",
    directory="temporary",
    options=(TRUST,),
)
