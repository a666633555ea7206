"""What stands in an exported file beside the network."""

from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainworks.cli.exporting.exported import Exported
from trainworks.cli.exporting.samples import Samples
from trainworks.runs.checkpoint_io import read_metrics


def metadata(
    exported: Exported, samples: Samples, record: dict[str, Any], options: Mapping[str, str]
) -> dict[str, Any]:
    """Return what somebody needs to know who has the file alone."""
    model, shape, data = exported.module, samples.inputs.shape[1:], samples.data
    wanted: dict[str, Any] = {"dtype": str(samples.inputs.dtype).removeprefix("torch."), "shape": ["batch", *shape]}
    if exported.any_length:
        wanted |= {"shape": ["batch", "length", *shape[1:]], "max_length": exported.max_length}
    if exported.any_size:
        wanted["shape"][2:] = ["height", "width"]
        size = f"any size; the file makes them {shape[1]} x {shape[2]}"
        wanted["preprocessing"] = f"{'RGB' if shape[0] == 3 else 'grey'}, values 0 to 255, {size}"
    elif data is None:
        wanted["preprocessing"] = "none in the file: inputs as the network takes them"
    return {
        "inputs": wanted,
        "outputs": (getattr(type(model), exported.method).__doc__ or "").partition("\n")[0],
        "class_names": None if data is None else model.class_names,
        "threshold": model.threshold if hasattr(type(model), "threshold") else None,
        "temperature": getattr(model, "temperature", None),
        "columns": getattr(data, "columns", None),
        "metrics": _metrics_of(Path(options["ckpt_path"]), record),
        "licence": options.get("licence", "not stated"),
        "commit": (record.get("git") or {}).get("commit"),
        "versions": {name: version(name) for name in ("torch", "torchvision")},
    }


def _metrics_of(checkpoint: Path, record: dict[str, Any]) -> dict[str, float]:
    """Return a checkpoint's metrics: of its own validation, and of each evaluation since then in its run's run.json."""
    metrics, written = read_metrics(checkpoint), checkpoint.stat().st_mtime
    for entry in record.get("evaluations", []):
        ended = datetime.fromisoformat(entry["end"]).timestamp()
        if Path(entry["checkpoint"]).name == checkpoint.name and ended > written and entry["exit_status"] == 0:
            metrics |= entry["metrics"]
    return metrics
