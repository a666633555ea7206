from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from trainworks.errors import UsageError

COPYING = ("ddp_spawn", "ddp_fork", "ddp_notebook")  # how Lightning's names of strategies that copy this process begin
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def check_start_method(strategy: object) -> None:
    """Refuse a strategy that copies this process, given `trainer.strategy` as it is in the configuration."""
    arguments = strategy.get("init_args") if isinstance(strategy, dict) else None
    method = (arguments or {}).get("start_method") or "popen"
    if method != "popen" or (isinstance(strategy, str) and strategy.startswith(COPYING)):
        got = strategy if isinstance(strategy, str) else f"start_method: {method}"
        raise UsageError(
            f"trainer.strategy: a copied process cannot take over the run's lock and signals, got {got}; write ddp"
        )


def settle_strategy(trainer: Trainer, module: LightningModule, sync_batchnorm: bool) -> None:
    """Let DDP expect parameters without gradients where a module optimizes by hand; refuse what does not work."""
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy) and not module.automatic_optimization:
        strategy._ddp_kwargs["find_unused_parameters"] = True  # each backward pass has gradients for some only
    works = strategy.root_device.type != "cpu" and isinstance(strategy, DDPStrategy)
    if sync_batchnorm and not works and any(isinstance(layer, BATCH_NORMS) for layer in module.modules()):
        got = f"{type(strategy).__name__} on {strategy.root_device.type}"
        raise UsageError(f"trainer.sync_batchnorm needs GPUs and the strategy ddp, got {got}; leave it false")
