from functools import cached_property
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from trainworks.models.predict import build


class TrialReport(Callback):
    """Report a metric after each validation to the search that this training is a trial of, and stop if it says so.

    The command `sweep` adds it. A training that was stopped has the epoch among its trial's attributes, as `pruned`.

    Args:
        storage: File or URL of the study, see `open_storage`.
        study: Name of the study.
        number: The trial's number in the study.
        metric: What is reported; one of a validation has to be logged.
        pruner: Class path and arguments of what decides; None where nothing is pruned, and nothing reported.
    """

    def __init__(self, storage: str, study: str, number: int, metric: str, pruner: dict[str, Any] | None) -> None:
        self.storage, self.study, self.number = storage, study, number
        self.metric, self.pruner = metric, pruner
        self.monitor = metric if metric.startswith("val") else None  # StartCheck refuses one that is not logged

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report, and stop a training that is not at its end anyway."""
        if trainer.sanity_checking or self.pruner is None:
            return
        pruned, epoch = False, trainer.current_epoch
        if trainer.is_global_zero and (value := trainer.callback_metrics.get(self.metric)) is not None:
            self._trial.report(float(value), epoch)
            pruned = epoch + 1 != trainer.max_epochs and self._trial.should_prune()
            if pruned:
                self._trial.set_user_attr("pruned", epoch)
        if trainer.strategy.reduce_boolean_decision(pruned, all=False):
            trainer.should_stop = True

    @cached_property
    def _trial(self) -> Any:
        import optuna

        pruner = build(self.pruner or {}, optuna.pruners.BasePruner, "pruner")
        storage = open_storage(self.storage)
        study = optuna.load_study(study_name=self.study, storage=storage, pruner=pruner)
        return open_trial(study, storage, self.number)


def open_storage(where: str) -> Any:
    """Return the storage of a study: a database for a URL, a journal for a file's path."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    if "://" in where:
        from sqlalchemy.pool import NullPool

        # no connection is left open: a server has a hundred, an array may have more workers
        return optuna.storages.RDBStorage(where, engine_kwargs={"poolclass": NullPool})
    return optuna.storages.JournalStorage(JournalFileBackend(where))


def open_trial(study: Any, storage: Any, number: int) -> Any:
    """Return a trial that is there already, by its number in the study, to go on with it."""
    import optuna

    study_id = storage.get_study_id_from_name(study.study_name)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
    return optuna.trial.Trial(study, trial_id)
