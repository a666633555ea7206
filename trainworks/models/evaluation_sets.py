from typing import Any

from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature

from trainworks.errors import UsageError


def set_names(trainer: Any, stage: str) -> list[str]:
    """Return the names of the validation or test sets, in the order of their loaders; metrics are logged under them.

    They are those of the datamodule's splits, such as val and val/noisy. Several loaders of somebody else's datamodule
    are called val, val/1, val/2. Without a trainer it is the one set that each `stage`, val or test, has at least.
    """
    datamodule: Any = getattr(trainer, "datamodule", None)
    names: list[str] = (datamodule.set_names(stage) if hasattr(datamodule, "set_names") else []) or [stage]
    batches = {"val": "num_val_batches", "test": "num_test_batches"}[stage]  # one number a loader
    count = len(getattr(trainer, batches, ()))
    return names if count in (0, len(names)) else [stage, *(f"{stage}/{k}" for k in range(1, count))]


def check_steps(trainer: Any, module: Any) -> None:
    """Look whether the module's steps can tell several sets apart."""
    for stage, step in (("val", "validation_step"), ("test", "test_step")):
        names = set_names(trainer, stage)
        if len(names) > 1 and not is_param_in_hook_signature(getattr(module, step), "dataloader_idx"):
            wanted = f"def {step}(self, batch, batch_idx, dataloader_idx=0)"
            raise UsageError(f"the data has the sets {', '.join(names)}; write {wanted} in {type(module).__name__}")
