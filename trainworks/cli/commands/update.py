"""python train.py update --from TEMPLATE: merge what the template changed since."""

from trainworks.cli.commands.add import add as update  # with nothing to add

__all__ = ["update"]
