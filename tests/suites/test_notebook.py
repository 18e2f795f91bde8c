"""The notebook runs from top to bottom in a fresh kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")
pytest.importorskip("pygame")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "example.ipynb"
BUDGET, SMALL_BUDGET = "60_000", "4_096"


def kinds_of(cell) -> set[str]:
    """Return what a cell put out, such as text and image/png."""
    kinds = set()
    for output in cell.get("outputs", []):
        kinds |= {output.output_type} if "data" not in output else set(output.data)
    return kinds - {"text/plain"}


@pytest.mark.timeout(900)
def test_the_notebook_runs_and_shows_what_is_stored_in_it(tmp_path, monkeypatch):
    stored = nbformat.read(NOTEBOOK, as_version=4)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace(BUDGET, SMALL_BUDGET)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    assert any(SMALL_BUDGET in cell.source for cell in notebook.cells)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where it trains
    client = nbclient.NotebookClient(
        notebook, timeout=800, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()  # raises with the traceback of a cell that fails
    shown = [kinds_of(cell) for cell in notebook.cells]
    assert shown == [kinds_of(cell) for cell in stored.cells]
    assert {"image/png", "image/gif", "text/markdown"} <= set().union(*shown)


def test_the_stored_notebook_is_small_and_names_no_place():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 300_000
    assert "/tmp/" not in text
    assert '"ename"' not in text
