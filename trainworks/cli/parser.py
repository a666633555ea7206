"""The parser of configurations: Lightning's, with errors as one short message."""

import contextlib
import inspect
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.core.mixins import hparams_mixin
from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters_context
from lightning.pytorch.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]
from lightning.pytorch.utilities.parsing import collect_init_args

from trainworks.errors import UsageError
from trainworks.runs.class_paths import drop_defaults, import_path
from trainworks.runs.yaml_files import Config

# What a constructor, or the setup before the first batch, raises for a value that cannot be.
MISTAKES = (ValueError, RuntimeError, AssertionError, OSError, ImportError, MisconfigurationException)


class Parser(LightningArgumentParser):
    """Lightning's parser, with errors as one short message."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise UsageError, except where the parser only tries whether a value fits."""
        if not self.exit_on_error:
            super().error(message, ex)
        from trainworks.cli.mistakes import shorten

        raise UsageError(shorten(message, getattr(self, "given", {})))

    def save_plain_hyperparameters(self, base: type, described: Config) -> None:
        """Let what a module or datamodule saves as hyperparameters while it is built be `described`, its plain data."""
        arguments = (described.get("init_args") or {}) | (described.get("dict_kwargs") or {})
        saved = {"_class_path": described.get("class_path"), **arguments}

        def save(item: Any, *names: Any, frame: Any, given_hparams: Any, **options: Any) -> None:
            """Save beside the description what constructors hand on; a module within another saves what is its own."""
            frame = inspect.currentframe().f_back.f_back  # type: ignore[union-attr]  # that of the constructor
            given = given_hparams if type(item) is import_path(described.get("class_path")) else {}
            if frame.f_globals["__name__"] != "trainworks.models.base":  # which saves the description alone
                for arguments in collect_init_args(frame, [], classes=(mixin.HyperparametersMixin,)):
                    given = arguments | given
            original(item, *names, frame=frame, given_hparams=given, **options)

        def build(class_type: type, *args: Any, **kwargs: Any) -> Any:
            mixin.save_hyperparameters = save
            try:
                with _given_hyperparameters_context(saved, "lightning.pytorch.cli.instantiate_module"):
                    return class_type(*args, **kwargs)
            finally:
                mixin.save_hyperparameters = original

        mixin: Any = hparams_mixin
        original = mixin.save_hyperparameters
        self.add_instantiator(build, base, subclasses=True)


@contextlib.contextmanager
def mistakes_in_one_line() -> Iterator[None]:
    """Turn what a constructor raises for a value that cannot be into a UsageError, with what it said itself."""
    try:
        yield
    except BaseException as error:
        cause = error  # or what is behind it, since jsonargparse lists what each type of a union said
        while cause.__cause__ is not None and "jsonargparse" in traceback.extract_tb(cause.__traceback__)[-1].filename:
            cause = cause.__cause__
        file = Path(traceback.extract_tb(cause.__traceback__)[-1].filename)
        refused = isinstance(cause, TypeError) and {"lightning", "jsonargparse"} & {*file.parts}
        if refused or isinstance(cause, MISTAKES):
            from trainworks.cli.mistakes import describe

            raise UsageError(describe(cause)) from error
        raise cause from cause.__cause__


def parse_config(parser: LightningArgumentParser, config: Config) -> Any:
    """Return a configuration checked and with all defaults, but for those that it cannot hold; see `drop_defaults`."""
    parser.given = config  # type: ignore[attr-defined]
    parsed = parser.parse_object(config)
    _check_callables(parsed.as_dict())
    drop_defaults(parsed, config)
    return parsed


def _check_callables(node: Any, key: str = "") -> None:
    """Refuse functions that do not say what they return, which would be called all the same, and missing arguments.

    `node` is a parsed configuration, as plain data, `key` where it stands.
    """
    if isinstance(node, dict):
        found, given = import_path(path := node.get("class_path")), node.get("init_args") or {}
        known = inspect.signature(found.__init__).parameters if isinstance(found, type) else {}  # type: ignore[misc]
        for name in [name for name, item in known.items() if item.default is item.annotation is item.empty]:
            if given.get(name, "") is None:  # which is all that the parser makes of an argument without a type
                raise UsageError(f"{key}: {path} needs {name}; write a value for it")
        if inspect.isroutine(found) and not getattr(found, "__annotations__", {}).get("return"):
            raise UsageError(f"{key}: {path} is a function that does not say what it returns; write a class's path")
        for name, value in node.items():
            _check_callables(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for item in node:
            _check_callables(item, key)
