"""The notebooks: they run to their end, and what is kept of their outputs is small."""

import importlib.util
import json
import os
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@each_notebook
def test_every_cell_was_run_and_its_outputs_are_small_and_without_native_messages(path):
    assert path.stat().st_size < 40_000
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [cell for cell in cells for output in cell["outputs"] if output.get("name") == "stderr"]
    assert any(cell["outputs"] for cell in cells)


@pytest.mark.slow
@each_notebook
def test_a_notebook_runs_to_its_end(path, tmp_path):
    if importlib.util.find_spec("nbclient") is None:
        pytest.skip("nbclient is not installed: make docs does so")
    if "mnist" in path.stem and not os.environ.get("TFDS_DATA_DIR"):
        pytest.skip("TFDS_DATA_DIR is not set, so MNIST is not at hand")
    from research import notebooks

    assert any(cell.get("outputs") for cell in notebooks.run(path, tmp_path).cells)
