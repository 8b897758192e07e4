"""Running notebooks; ``python tests/notebooks.py results/notebooks/3_*.ipynb`` runs some and keeps what they show.

They run where they lie. What they show holds no path of the machine's user and no name of a temporary folder.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

SECONDS = 300


def run(path: Path) -> nbformat.NotebookNode:
    """Execute a notebook where it lies; a cell that raises is an error."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": path.parent}},
        record_timing=False,
    )
    client.execute(env={**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"})
    return notebook


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """What the cells show, but for pictures."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]


def main() -> None:
    """Run notebooks, and write what they show into them."""
    for name in sys.argv[1:]:
        notebook = run(Path(name))
        written = nbformat.writes(notebook).replace(os.path.expanduser("~") + "/", "~/")
        written = re.sub(re.escape(tempfile.gettempdir()) + r"/tmp\w+/", "TEMPORARY_FOLDER/", written)
        Path(name).write_text(written.rstrip("\n") + "\n", encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main()
