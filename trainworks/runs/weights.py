"""Pretrained weights: read from a file or the web, and loaded into a network where names and shapes match."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from trainworks.errors import UsageError, listed, no_such_file
from trainworks.runs.checkpoint_io import read_checkpoint
from trainworks.runs.files import is_checkpoint, trusting
from trainworks.runs.plain_data import UntrustedFile

Tensors = Mapping[str, Tensor]

WEIGHT_KEYS = ("state_dict", "model_state_dict", "model")  # under which a checkpoint keeps the weights
COMPILED = "_orig_mod."  # what torch.compile puts into names
SHOWN = 4  # names in one line


def load_weights(net: nn.Module, source: str) -> list[str]:
    """Copy every tensor of a file that fits a network into it, and return a report, line by line.

    Names fit if they differ only in a prefix, such as `module.` or `net.` in the file, or `backbone.` in the network;
    the prefix with which most tensors fit is taken. A tensor of another shape, such as that of a head for other
    classes, stays new. `source` is what `read_weights` takes.
    """
    given, own = _tensors(read_weights(source)), _tensors(net.state_dict())
    removed, added = _prefixes(given, own)
    renamed = {name: added + name.removeprefix(removed) for name in given if name.startswith(removed)}
    found = {name: given[old] for old, name in renamed.items() if name in own}
    fitting = [name for name, tensor in found.items() if tensor.shape == own[name].shape]
    if not any(own[name].ndim for name in fitting):  # a counter of batches fits any other
        of_file, of_net = (
            listed([f"{name} {_size(item)}" for name, item in tensors.items()], SHOWN) for tensors in (given, own)
        )
        what = f"none of its {len(given)} tensors fits {type(net).__name__}"
        raise UsageError(f"{source}: {what}; the file has {of_file}; the network has {of_net}")
    for name in fitting:
        own[name].copy_(found[name])
    prefix = f", without '{removed}'" if removed else f", as '{added}'" if added else ""
    others = {
        "left new, of another shape": [
            f"{name} {_size(found[name])} -> {_size(own[name])}" for name in found if name not in fitting
        ],
        "left new, not in the file": [name for name in own if name not in found],
        "in the file, not used": [name for name in given if renamed.get(name) not in found],
    }
    head = f"weights: {len(fitting)} of {len(own)} tensors of {type(net).__name__} from {source}{prefix}"
    return [head, *(f"  {len(names)} {what}: {listed(names, SHOWN)}" for what, names in others.items() if names)]


def read_weights(source: str) -> dict[str, Any]:
    """Read the weights of a network by name; nothing that could run code is read.

    They come from a .pt, .pth, .ckpt or .safetensors file, the URL of one, or torchvision's name of weights, such as
    ResNet18_Weights.DEFAULT. Downloaded files are kept in torch.hub's folder.
    """
    path = _download(source) if re.match(r"https?://|\w+_Weights\.\w+$", source) else Path(source).expanduser()
    if not is_checkpoint(path):
        raise UsageError(f"{source}: {'a folder' if path.is_dir() else no_such_file(path)}; write a file of weights")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # an optional package

            content: Any = load_file(path)
        else:
            with trusting(False):  # it may come from anywhere
                content = read_checkpoint(path)
    except ImportError:
        raise UsageError(f"{path} needs the package safetensors; write pip install safetensors") from None
    except UntrustedFile as error:
        raise UsageError(f"{source}{_explain(error.__cause__)}") from None
    except UsageError:
        raise
    except Exception as error:  # zip and pickle readers raise anything for a damaged file
        raise UsageError(f"{source}{_explain(error)}") from None
    for key in WEIGHT_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not _tensors(content):
        raise UsageError(f"{source}: holds no tensors by name; write the file of a state_dict or a checkpoint")
    return content


def _download(source: str) -> Path:
    """Download the weights of a URL or of torchvision to torch.hub's folder, unless they are there; return the file."""
    if source.startswith("http"):
        url, hash_prefix = source, None
        prefix = hashlib.sha256(url.encode()).hexdigest()[:8]  # many files of the web are called model.safetensors
        name = f"{prefix}-{PurePosixPath(urlsplit(url).path).name}"
    else:
        from torchvision.models import get_weight  # the import would slow every start

        try:
            url = get_weight(source).url
        except (KeyError, ValueError):
            advice = "write a name such as ResNet18_Weights.DEFAULT"
            raise UsageError(f"torchvision has no weights '{source}'; {advice}") from None
        name = PurePosixPath(urlsplit(url).path).name
        hash_prefix = name.rpartition("-")[2].partition(".")[0]  # torchvision's names end in a hash of the file
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix, progress=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise UsageError(f"{url}: cannot be downloaded: {error}") from None
    return path


def _explain(error: BaseException | None) -> str:
    """Say why a file could not be read, as the rest of a sentence that begins with its name."""
    if unsafe := re.search(r"nsupported (?:global: )?GLOBAL (\S+)", str(error)):
        return (
            f" holds more than tensors and plain data ({unsafe[1]}), which could run code; none was run. Where you "
            "trust it, keep its weights alone: torch.save(torch.load(FILE, weights_only=False)['state_dict'], NEW)"
        )
    reason = str(error).rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0]
    return f": truncated, damaged or no file of weights: {reason[:200] or type(error).__name__}"


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the tensors of a mapping by name, as they are named without torch.compile."""
    return {str(name).replace(COMPILED, ""): item for name, item in content.items() if isinstance(item, Tensor)}


def _prefixes(given: Tensors, own: Tensors) -> tuple[str, str]:
    """Return the prefixes to remove from and to add to the names of the file, so that most tensors fit."""
    votes = Counter((prefix, "") for prefix in _fitting_prefixes(given, own))
    votes.update(("", prefix) for prefix in _fitting_prefixes(own, given))
    return max(votes, key=lambda pair: (votes[pair], -len("".join(pair))), default=("", ""))


def _fitting_prefixes(longer: Tensors, shorter: Tensors) -> Iterator[str]:
    """Yield each prefix without which a name of `longer` is one of `shorter`, with a tensor of the same shape."""
    for name, tensor in longer.items():
        parts = name.split(".") if tensor.ndim else []
        for count in range(len(parts)):
            short = ".".join(parts[count:])
            if short in shorter and shorter[short].shape == tensor.shape:
                yield name[: len(name) - len(short)]


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
