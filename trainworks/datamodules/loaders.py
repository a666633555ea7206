from functools import partial
from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset

from trainworks.datamodules.randomness import KeyedDataset
from trainworks.datamodules.samplers import batching, collate
from trainworks.runtime.signals import STOP, outlast_signals, start_fork_server

PREFETCH = 4  # batches that each worker holds ready


def build_loader(data: Any, dataset: Dataset[Any], shuffle: bool) -> DataLoader[Any]:
    """Return the loader of a split of `data`, a BaseDataModule, for this process."""
    trainer, num_workers = data.trainer, data.num_workers
    if num_workers is None:
        num_workers = 0 if getattr(dataset, "serves_batches", False) else max(min(data.num_cores - 1, 16), 1)
    served = dataset if isinstance(dataset, IterableDataset) else KeyedDataset(dataset, data.run_seed)
    join = data.collate or partial(collate, resizes=hasattr(data, "image_size"))
    options = batching(data, dataset, shuffle)
    if num_workers and isinstance(served, KeyedDataset):
        from trainworks.runtime.shared_memory import fitting_workers

        everywhere, here = (trainer.world_size, trainer.num_devices) if trainer is not None else (1, 1)
        num_samples = PREFETCH * data.batch_size // everywhere
        num_workers = fitting_workers(num_workers, num_samples, lambda: join(served.__getitems__([0])), here)
    if num_workers and STOP.ends_workers:
        start_fork_server()
    return DataLoader(
        served,
        **options,
        num_workers=num_workers,
        collate_fn=join,
        worker_init_fn=partial(outlast_signals, is_ended=STOP.ends_workers),
        pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
        persistent_workers=num_workers > 0,
        prefetch_factor=PREFETCH if num_workers else None,
    )
