"""Pretrained weights: read from a file or the web, and loaded into a network where names and shapes match."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
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
KEEP_WEIGHTS = (  # of a module, of what holds one or its state_dict, or of a state_dict with other things
    "import torch; c = torch.load({!r}, weights_only=False); c = next((c[k] for k in {} if isinstance(c, dict) and k "
    "in c), c); c = c if isinstance(c, dict) else c.state_dict(); torch.save({{k: v for k, v in c.items() if "
    "isinstance(v, torch.Tensor)}}, 'weights.pt')"
)
SHOWN = 4  # names in one line


def load_weights(
    net: nn.Module, source: str, file_prefix: str | None = None, network_prefix: str | None = None
) -> list[str]:
    """Copy every tensor of a file that fits a network into it, and return a report, line by line.

    Names fit if they differ only in a prefix, such as `module.` or `net.` in the file, or `backbone.` in the network;
    the prefix with which most tensors fit is taken. Prefixes that are given are: what begins with the one in the file
    goes to what begins with the other in the network. A tensor of another shape, such as that of a head for other
    classes, stays new, but see `for_channels`. `source` is what `read_weights` takes.
    """
    given, own = _tensors(read_weights(source)), _tensors(net.state_dict())
    pairs = _pairs(given, own)
    removed, added = _prefixes(pairs, given, own)
    if file_prefix is not None or network_prefix is not None:
        removed, added = _known_prefix(file_prefix, given, source), _known_prefix(network_prefix, own, "the network")
    renamed = {name: added + name.removeprefix(removed) for name in given if name.startswith(removed)}
    found = {name: for_channels(given[old], own[name].shape) for old, name in renamed.items() if name in own}
    fitting = [name for name, tensor in found.items() if tensor.shape == own[name].shape]
    if not any(own[name].ndim for name in fitting):  # a counter of batches fits any other
        of_file, of_net = (
            listed([f"{name} {_size(item)}" for name, item in tensors.items()], SHOWN) for tensors in (given, own)
        )
        what = f"none of its {len(given)} tensors fits {type(net).__name__}"
        parts = [f"{old.strip('.')} as {new.strip('.')}" for (old, new), count in pairs.most_common() if count > 1]
        advice = f"; with file_prefix and network_prefix some do: {listed(parts, SHOWN)}" if parts else ""
        raise UsageError(f"{source}: {what}{advice}; the file has {of_file}; the network has {of_net}")
    for name in fitting:
        own[name].copy_(found[name])
    prefix = f", without '{removed}'" if removed else f", as '{added}'" if added else ""
    prefix = f", '{removed}' as '{added}'" if removed and added else prefix
    others = {
        "for other channels": [new for old, new in renamed.items() if found.get(new, given[old]) is not given[old]],
        "left new, of another shape": [
            f"{name} {_size(found[name])} -> {_size(own[name])}" for name in found if name not in fitting
        ],
        "left new, not in the file": [name for name in own if name not in found],
        "in the file, not used": [name for name in given if renamed.get(name) not in found],
    }
    head = f"weights: {len(fitting)} of {len(own)} tensors of {type(net).__name__} from {source}{prefix}"
    return [head, *(f"  {len(names)} {what}: {listed(names, SHOWN)}" for what, names in others.items() if names)]


def for_channels(weight: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a weight itself, but of a convolution of 3 channels one for other channels, repeated and scaled."""
    if weight.ndim != 4 or len(shape) != 4 or shape[1] == 3 or weight.shape != (shape[0], 3, *shape[2:]):
        return weight
    if shape[1] == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight.repeat(1, -(-shape[1] // 3), 1, 1)[:, : shape[1]] * (3 / shape[1])


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
        raise UsageError(f"{source}{_explain(error.__cause__, path)}") from None
    except UsageError:
        raise
    except Exception as error:  # zip and pickle readers raise anything for a damaged file
        raise UsageError(f"{source}{_explain(error, path)}") from None
    for key in WEIGHT_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if isinstance(content, dict) and not _tensors(content):  # such as {"net": ...}, or {"student": ..., "teacher": ...}
        parts = {key: _tensors(part) for key, part in content.items() if isinstance(part, dict)}
        content = {f"{key}.{name}": item for key, part in parts.items() for name, item in part.items()}
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


def _explain(error: BaseException | None, path: Path) -> str:
    """Say why a file could not be read, as the rest of a sentence that begins with its name."""
    if unsafe := re.search(r"nsupported (?:global: )?GLOBAL (\S+)", str(error)):
        return (
            f" holds more than tensors and plain data ({unsafe[1]}), which could run code; none was run. Where you "
            f'trust it, keep its weights alone: python -c "{KEEP_WEIGHTS.format(str(path), WEIGHT_KEYS)}"'
        )
    reason = str(error).rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0]
    return f": truncated, damaged or no file of weights: {reason[:200] or type(error).__name__}"


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the tensors of a mapping by name, as they are named without torch.compile."""
    return {str(name).replace(COMPILED, ""): item for name, item in content.items() if isinstance(item, Tensor)}


def _pairs(given: Tensors, own: Tensors) -> Counter[tuple[str, str]]:
    """Count for each two prefixes, of the file and of the network, the tensors of one shape that differ in them alone.

    Both are as short as they can be: what comes after them is the same, part by part.
    """
    ends: dict[Any, list[str]] = {}
    for name, tensor in own.items():
        ends.setdefault((name.rpartition(".")[2], tensor.shape), []).append(name)
    pairs: Counter[tuple[str, str]] = Counter()
    for name, tensor in given.items():
        for other in ends.get((name.rpartition(".")[2], tensor.shape), ()) if tensor.ndim else ():
            old, new = name.split("."), other.split(".")
            while old and new and old[-1] == new[-1]:
                del old[-1], new[-1]
            pairs["".join(f"{part}." for part in old), "".join(f"{part}." for part in new)] += 1
    return pairs


def _prefixes(pairs: Counter[tuple[str, str]], given: Tensors, own: Tensors) -> tuple[str, str]:
    """Return the prefixes to remove from and to add to the names of the file, so that most tensors fit.

    Both are taken only where no other two are as good, and all that they name on one side fits, at least half of it.
    """
    (best, most), (_, second) = [*pairs.most_common(2), (("", ""), 0), (("", ""), 0)][:2]
    named = [
        sum(name.startswith(prefix) for name in side if side[name].ndim)
        for prefix, side in zip(best, (given, own), strict=True)
    ]
    if most > second and most in named and 2 * most >= min(len(given), len(own)):
        return best
    simple = [pair for pair in pairs if "" in pair]
    return max(simple, key=lambda pair: (pairs[pair], -len("".join(pair))), default=("", ""))


def _known_prefix(prefix: str | None, tensors: Tensors, where: str) -> str:
    """Return a prefix that was given, with its dot; a UsageError where no name begins with it."""
    wanted = f"{prefix.strip('.')}." if prefix else ""
    if not any(name.startswith(wanted) for name in tensors):
        first = sorted({name.partition(".")[0] for name in tensors})
        raise UsageError(f"InitFrom: no name of {where} begins with '{wanted}'; they begin with {listed(first)}")
    return wanted


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
