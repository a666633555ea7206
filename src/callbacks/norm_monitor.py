import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim import Optimizer


class NormMonitor(Callback):
    """Log the norms of gradients and weights every `trainer.log_every_n_steps` steps, and the best score each epoch.

    Tags are norm/gradient (before clipping), norm/weight and best/<monitored metric>.
    """

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Log the norms."""
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not every or (trainer.global_step + 1) % every or not trainer.loggers or not trainer.is_global_zero:
            return
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        gradients = [weight.grad for weight in weights if weight.grad is not None and not weight.grad.is_sparse]
        norms = torch.stack(
            [torch.nn.utils.get_total_norm(values) for values in (gradients, [weight.detach() for weight in weights])]
        )
        gradient, weight = norms.tolist()  # read together
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        for logger in trainer.loggers:
            logger.log_metrics({"norm/gradient": gradient, "norm/weight": weight}, step=step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the best score so far."""
        best = trainer.checkpoint_callback
        if isinstance(best, ModelCheckpoint) and best.monitor and best.best_model_score is not None:
            step = trainer.fit_loop.epoch_loop._batches_that_stepped - 1
            for logger in trainer.loggers if trainer.is_global_zero else ():
                logger.log_metrics({f"best/{best.monitor}": float(best.best_model_score)}, step=step)
