from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from trainworks.errors import UsageError

COPYING = ("ddp_spawn", "ddp_fork", "ddp_notebook", "spawn", "fork")  # names that begin so copy the process
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def check_start_method(strategy: object) -> None:
    """Refuse a strategy that copies this process, given `trainer.strategy` as it is in the configuration."""
    arguments = strategy.get("init_args") if isinstance(strategy, dict) else None
    got = strategy if isinstance(strategy, str) else (arguments or {}).get("start_method", "popen")
    if isinstance(got, str) and got.startswith(COPYING):
        problem = "a copied process cannot take over the run's lock and signals"
        raise UsageError(f"trainer.strategy: {problem}, got {got}; write ddp")


def settle_strategy(trainer: Trainer, module: LightningModule, sync_batchnorm: bool) -> None:
    """Let DDP expect parameters without gradients in manual optimization; refuse what does not work."""
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy) and not module.automatic_optimization:
        strategy._ddp_kwargs["find_unused_parameters"] = True  # each backward pass has gradients for some only
    works = strategy.root_device.type != "cpu" and isinstance(strategy, DDPStrategy)
    if sync_batchnorm and not works and any(isinstance(layer, BATCH_NORMS) for layer in module.modules()):
        got = f"{type(strategy).__name__} on {strategy.root_device.type}"
        raise UsageError(f"trainer.sync_batchnorm needs GPUs and the strategy ddp, got {got}; leave it false")
