from typing import Any


def set_names(trainer: Any, stage: str) -> list[str]:
    """Return the names of the validation or test sets, in the order of their loaders.

    Args:
        trainer: Its data tells the names; else they are "val", "val/1", "val/2", ... for as many loaders as there are.
            None for the one set that each stage has at least.
        stage: "val" or "test".
    """
    names = getattr(getattr(trainer, "datamodule", None), "set_names", None)
    if names is not None:
        return names(stage) or [stage]
    batches = {"val": "num_val_batches", "test": "num_test_batches"}[stage]
    return [stage, *(f"{stage}/{k}" for k in range(1, len(getattr(trainer, batches, ()))))]
