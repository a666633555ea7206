"""Files of arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainworks.errors import UsageError

ARRAY_FILES = (".npy", ".npz", ".pt")


def read_arrays(path: str) -> dict[str, Any]:
    """Return the arrays of a file, or of a folder of .npy files, by name; that of an .npy file is called inputs."""
    try:
        if Path(path).is_dir():
            return {file.stem: np.load(file, mmap_mode="c") for file in sorted(Path(path).glob("*.npy"))}
        if Path(path).suffix == ".npy":
            return {"inputs": np.load(path, mmap_mode="c")}
        if Path(path).suffix == ".npz":
            with np.load(path) as file:
                return dict(file)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the readers raise errors of many kinds
        wanted = "an .npz, .pt or .csv file, or a folder of .npy files"
        raise UsageError(f"{path}: cannot be read; write {wanted} ({str(error).splitlines()[0][:200]})") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected a dictionary of tensors, got {type(content).__name__}")
    return content


def read_array(path: str, name: str) -> Any:
    """Return the one array of a file, or among several that of this name."""
    arrays = read_arrays(path)
    if len(arrays) > 1 and name not in arrays:
        raise UsageError(f"{path}: no array '{name}'; it has {', '.join(arrays)}")
    return arrays[name] if name in arrays else next(iter(arrays.values()))
