"""The notebooks run from their first cell to the last."""

from __future__ import annotations

import nbformat
import pytest
from documents import ROOT
from notebooks import run

NOTEBOOKS = sorted((ROOT / "results" / "notebooks").glob("*.ipynb"))


def test_they_are_in_order():
    assert [path.name[0] for path in NOTEBOOKS] == [str(i + 1) for i in range(len(NOTEBOOKS))]


@pytest.mark.long  # on the published images, which have to be found first
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_draws(path):
    notebook = run(path)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_shown_is_what_was_run_in_order(path):
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.source.strip() for cell in cells)
