from pathlib import Path

import pytest


@pytest.mark.long
def test_the_notebook_runs_and_shows_what_its_cells_give(tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    import nbformat

    from docs.make_notebook import NOTEBOOK, run_notebook

    shown, found = nbformat.read(NOTEBOOK, as_version=4), run_notebook(tmp_path)
    cells = [cell for cell in found.cells if cell.cell_type == "code"]
    kept = [cell for cell in shown.cells if cell.cell_type == "code"]
    assert [[output.output_type for output in cell.outputs] for cell in cells] == [
        [output.output_type for output in cell.outputs] for cell in kept
    ]
    assert "best epoch" in cells[1].outputs[0].text and "greatest difference" in cells[-1].outputs[0].text
    assert "['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']" in str(cells[-3].outputs)
    assert len([*tmp_path.glob("logs/digits/*/README.md")]) == 2
