"""The notebook of the quickstart runs top to bottom, and is kept without outputs."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs the extra dev: pip install 'augsynth[dev]'")
nbclient = pytest.importorskip("nbclient", reason="needs the extra dev: pip install 'augsynth[dev]'")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_kept_without_outputs(notebook):
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]


def test_it_runs_and_shows_pictures_and_the_result(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MPLBACKEND", "agg")
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [[output.get("data", {}).keys() for output in cell.outputs] for cell in code]
    printed = "".join(o.get("text", "") for cell in code for o in cell.outputs if o.output_type == "stream")
    assert sum("image/png" in keys for outputs in shown for keys in outputs) == 3
    assert "objects in" in printed and "instances_augmented.json" in printed
    assert (tmp_path / "runs" / "quickstart" / "annotations" / "instances_augmented.json").is_file()
