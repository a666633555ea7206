"""README.md of a run directory: what came of the run on one page, as a forge or an editor shows it."""

import re
from pathlib import Path
from typing import Any

FILES = {
    "config.yaml": "the configuration",
    "metrics.csv": "metrics of each epoch",
    "results.csv": "the result of each test sample, beside its target and how wrong it is",
    "run.json": "versions, hardware, times, metrics",
    "train.log": "what was printed",
}


def pictures(directory: Path) -> list[Path]:
    """Return the pictures of a run: its curves, its worst test samples, its figures."""
    return [path for name in ("curves.png", "worst*.png", "figures/*.png") for path in sorted(directory.glob(name))]


def test_metrics(record: dict[str, Any]) -> dict[str, Any]:
    """Return what the last test of a run logged, under whatever names."""
    tests = [entry["metrics"] for entry in record.get("evaluations", ()) if entry.get("stage") == "test"]
    return tests[-1] if tests else {}


def write_page(directory: Path, record: dict[str, Any]) -> None:
    """Write the page from what run.json holds, `record`, and from the pictures that are there."""
    lines = [f"# {_escaped('/'.join(directory.absolute().parts[-2:]))}", "", f"    {record.get('command', '')}", ""]
    if (epoch := record.get("best_epoch")) is not None:
        scores = ", ".join(f"{_escaped(name)} {_number(value)}" for name, value in record["best"].items())
        lines += [f"Best checkpoint: epoch {epoch}, step {record['best_step']:,}. {scores}".rstrip(), ""]
    lines += [f"Ended by: {record['stopped']}.", ""] if record.get("stopped") else []
    if metrics := test_metrics(record):
        lines += ["| test | |", "| --- | --- |"]
        lines += [f"| {_escaped(name)} | {_number(value)} |" for name, value in metrics.items()] + [""]
    for path in pictures(directory):
        text = _escaped(path.stem.replace("_", " ").replace("worst", "worst test samples"))
        lines += [f"![{text}]({path.relative_to(directory).as_posix().replace(' ', '%20')})", ""]
    lines += [f"- [{name}]({name}): {what}" for name, what in FILES.items() if (directory / name).is_file()]
    (directory / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8", errors="replace")


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>()#|])", r"\\\1", text)


def _number(value: Any) -> str:
    return "not finite" if value is None else f"{value:.4f}"
