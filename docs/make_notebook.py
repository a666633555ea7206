"""Run docs/quickstart.ipynb anew and keep what it shows: python -m docs.make_notebook (needs the notebook extra)."""

import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs/quickstart.ipynb"
PARTS = ("src", "configs", "trainworks", "train.py")  # of a clone, that the notebook needs


def run_notebook(folder: Path) -> Any:
    """Return the notebook with what its cells show in a folder that has the parts of a clone."""
    for name in PARTS:
        (folder / name).symlink_to(ROOT / name)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [_tidied(output, folder) for output in cell.outputs if output.get("name") != "stderr"]
            cell.outputs = _joined(cell.outputs)
    return notebook


def _tidied(output: Any, folder: Path) -> Any:
    """Show paths as they are in a clone, and of what was drawn over, such as a progress bar, the last state."""
    if "text" in output:
        lines = [re.sub(r"^.*\r(?=[^\r]*$)", "", line.rstrip("\r")).rstrip() for line in output.text.split("\n")]
        output.text = "\n".join(lines).replace(f"{folder}/", "")
    return output


def _joined(outputs: list[Any]) -> list[Any]:
    """Join texts that follow each other."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        nbformat.write(run_notebook(Path(place)), NOTEBOOK)
