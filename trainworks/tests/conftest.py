import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from trainworks.runtime.threads import THREAD_PREFIXES
from trainworks.testing import (  # noqa: F401  pytest finds fixtures and hooks here, tests the others
    ROOT,
    Result,
    Train,
    all_but,
    pytest_collection_modifyitems,
    pytest_configure,
    restored_state,
    train,
    train_process,
    write_images,
)

HERE = Path(__file__).parent
CONFIGS = HERE / "configs"
DIGITS = str(CONFIGS / "digits.yaml")
PLAIN = ("--callbacks.figures", "null", "--callbacks.notes.graph", "false")  # what takes a second of its own
QUICK = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", *PLAIN)
STILL = (  # a config that draws no random transforms, so that processes can be compared
    "data: {init_args: {train_transform: [{class_path: torchvision.transforms.v2.ToDtype, "
    "init_args: {dtype: torch.float32, scale: true}}]}}"
)


@pytest.fixture(scope="package", autouse=True)  # before what trains for a whole module
def own_defaults() -> Iterator[None]:
    """Let a project's own configs/defaults.yaml be what it likes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAIN_DEFAULTS", str(CONFIGS / "defaults.yaml"))
        yield


def unthreaded() -> dict[str, str]:
    """Return the environment of a person's process: without what concerns threads."""
    return {name: value for name, value in os.environ.items() if not name.startswith(THREAD_PREFIXES)}


def same_weights(*runs: Path) -> bool:
    """Whether the last checkpoints of two runs hold the same weights bit by bit."""
    one, two = (torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in runs)
    return list(one) == list(two) and all(torch.equal(one[key], two[key]) for key in one)
