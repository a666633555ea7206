from typing import Any

from torch.utils.data import default_collate

from trainworks.errors import UsageError


def collate(batch: Any) -> Any:
    """Stack a list of samples; a batch that a dataset served whole stays as it is."""
    if not isinstance(batch, list):
        return batch
    try:
        return default_collate(batch)
    except RuntimeError as error:
        if "equal size" not in str(error):
            raise
        raise UsageError(
            f"samples of one batch differ in size ({str(error).partition(', but ')[2]}); set data.image_size, or "
            "data.collate to PadSequences or KeepLists of trainworks.datamodules.transforms"
        ) from None
