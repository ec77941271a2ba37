"""Run the notebooks in docs/notebooks and keep their outputs: `python -m research.notebooks`.

It needs nbclient and ipykernel, which `make docs` installs. Only what is printed on the output stream, and values, are
kept: no messages of native libraries, no times.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"


def run(path: Path, folder: str | os.PathLike[str]) -> Any:
    """Return a notebook with the outputs that it has when it is run in a folder.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell raises an error.
    """
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(folder)}}).execute()
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_noise(output)]
    return notebook


def _is_noise(output: Any) -> bool:
    # In a notebook TensorFlow's log goes to the output stream.
    return output.get("name") == "stderr" or str(output.get("text", "")).startswith("INFO:tensorflow")


def main() -> None:
    """Run all notebooks and write them with their outputs."""
    import nbformat

    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(run(path, folder), path)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
