"""Whether a run continues with the settings that it began with. Nothing heavy is imported here."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from trainworks.errors import UsageError
from trainworks.runs.files import write_in_one_step
from trainworks.runs.yaml_files import Config, dump_yaml, flatten, load_file, short_key

WITHOUT_EFFECT = re.compile(  # changes that leave the training as it is
    r"data\.init_args\.(num_workers|storage|cache_dir|cache_limit_gb)$|"
    r"callbacks\.(progress|last|predictions|notes|images|norms|speed|figures|trace|samples|checkpointing)\b|"
    r"trainer\.(logger|log_every_n_steps|enable_progress_bar|enable_model_summary|profiler|default_root_dir|"
    r"use_distributed_sampler|num_sanity_val_steps|detect_anomaly|limit_test_batches|limit_predict_batches)\b"
)
LENGTHS = {"max_epochs": None, "max_steps": -1, "max_time": None}  # of the trainer, and what stands for no limit
NEW_EPOCH = "; where it had ended, it goes on with a new epoch and is not bit by bit the same"
HARDWARE = re.compile(r"trainer\.(accelerator|devices|num_nodes|strategy)\b|callbacks\.(compile|channels_last)\b|tf32$")
DATA_PATH = re.compile(r"data\.init_args\.(root|csv_file|train|val|test)$")


def changes_length(stored: Config, wanted: Config) -> bool:
    """Whether a configuration asks for another length of the training than the one that a run has stored."""
    trainers = [config.get("trainer") or {} for config in (stored, wanted)]
    return any(len({str(trainer.get(name, usual)) for trainer in trainers}) > 1 for name, usual in LENGTHS.items())


def store_lengths(path: Path, wanted: Config) -> None:
    """Let a run's configuration ask for the length with which it continues, so that its directory is enough again."""
    stored = load_file(str(path))
    stored["trainer"] |= {name: wanted["trainer"][name] for name in LENGTHS}
    write_in_one_step(path, dump_yaml(stored))


def changed_keys(stored: Config, typed: list[tuple[str, str]]) -> list[str]:
    """Return the typed keys, with which a run would not be the one that it was, given its configuration.

    This is known without the parser, for a run that is finished; `check_settings` compares all of a configuration.
    """
    harmless = (WITHOUT_EFFECT, HARDWARE, DATA_PATH)
    flat = {key: value for key, value in flatten(stored).items() if not any(kind.match(key) for kind in harmless)}
    values = {short_key(key): value for key, value in flat.items()}
    changed = []
    for key, text in dict(typed).items():
        found: Any = text
        with suppress(yaml.YAMLError):
            found = yaml.safe_load(text)
        parts = flatten(found, key) if isinstance(found, list | dict) else {key: text}
        is_cut = isinstance(found, list) and f"{short_key(key)}.{len(found)}" in values  # what stands there is longer
        if is_cut or any(_differs(str(part), values.get(short_key(name), part)) for name, part in parts.items()):
            changed.append(key)
    return changed


def _differs(text: str, value: Any) -> bool:
    """Whether what was typed is another value than one of a configuration; 1e-3 is 0.001, and nan is nan."""
    try:
        return repr(float(text)) != repr(float(value)) or (isinstance(value, int) and "." in text)  # 1.0 of all batches
    except (TypeError, ValueError):
        with suppress(yaml.YAMLError):
            return text != str(value) and repr(yaml.safe_load(text)) != repr(value)
    return True


def check_settings(stored: Config, wanted: Config, defaults: tuple[Path, Config] = (Path(), {})) -> list[str]:
    """Refuse changes of a run's configuration on which the training depends; return remarks about the others.

    A change that comes from the project's file of defaults, whose path and content are `defaults`, names that file.
    """
    remarks, refused = [], []
    before, after, of_file = flatten(stored), flatten(wanted), flatten(defaults[1])
    spans_all = any(re.match(r"model\..*scheduler.*\.total_steps$", key) and before[key] is None for key in before)
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if repr(old) == repr(new) or WITHOUT_EFFECT.match(key):
            continue
        change = f"{key}: {old} -> {new}"
        is_longer = isinstance(old, int) and isinstance(new, int) and (new > old >= 0 or new == -1)
        if HARDWARE.match(key):
            remarks.append(f"{change} (the result will not be bit by bit the same)")
        elif DATA_PATH.match(key):
            remarks.append(f"{change} (taken for the same data at another place)")
        elif key == "trainer.max_time":
            remarks.append(f"{change} (another length{NEW_EPOCH})")
        elif key.removeprefix("trainer.") not in LENGTHS or not is_longer:
            origin = f" (of {defaults[0]})" if new is not None and of_file.get(key) == new else ""
            refused.append(change + origin)
        elif spans_all:
            refused.append(f"{change} (the learning-rate schedule spans all epochs)")
        else:
            remarks.append(f"{change} (a longer training{'' if key == 'trainer.max_epochs' else NEW_EPOCH})")
    if refused:
        problem = "the run cannot continue with other settings; leave them as they are or start a new run:"
        more = [f"and {len(refused) - 12} more"] if len(refused) > 12 else []
        raise UsageError("\n  ".join([problem, *refused[:12], *more]))
    return remarks
