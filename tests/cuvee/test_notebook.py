"""A notebook, as Jupyter runs it: the working folder is first on sys.path, and there are no widgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT, write

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("pandas")

#: Cuvée comes behind the working folder, as where it is installed. There are no widgets.
SITE = f"import sys\nsys.path.append({str(ROOT)!r})\nsys.modules['ipywidgets'] = None"
CELLS = (
    "import cuvee\nimport pandas\nlake = cuvee.connect('lake', create=True)",
    "texts = [f'Recipe {number}: bread is baked in an oven for {number} minutes.' for number in range(20)]\n"
    "report = lake.ingest(pandas.DataFrame({'text': texts, 'cook': 'Ada'}), source='kitchen')\n"
    "report.documents",
    "from pathlib import Path\nfrom warehouse.project.starter import write\n"
    "name = write(Path(), 'project', ()).name\n"
    "results = lake.build('+my_mixture', exclude='resource_type:test')\n"
    "any(result.failed for result in results), 'my_mixture' in {result.name for result in results}",
    "lake.sql('select component, count(*) as documents from my_mixture group by component').df()",
    "[part.component for part in lake.mixture('my_mixture').components]",
    "lake.export('my_mixture', 'exports/text', format='text').manifest.samples == len(lake.table('my_mixture'))",
    "lake.table('my_mixture').limit(2)",
)


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *cells: str) -> list[Any]:
    """Run cells in a kernel whose working folder is ``folder``; return their outputs. Raises CellExecutionError."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(folder / ".ipython"))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    monkeypatch.delenv("CUVEE_LAKE", raising=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (SITE, *cells)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return [cell.outputs for cell in notebook.cells[1:]]


def value(outputs: list[Any]) -> str:
    """Return what a cell's last line shows as text."""
    (shown,) = [output for output in outputs if output.output_type == "execute_result"]
    text: str = shown.data["text/plain"]
    return text


def test_a_notebook_makes_a_lake_and_exports_a_mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"training/notes.txt": "a folder of the user's own, without Python"})
    outputs = run(tmp_path, monkeypatch, *CELLS)
    assert value(outputs[1]) == "20"
    assert value(outputs[2]) == "(False, True)"
    assert value(outputs[3]).split()[:3] == ["component", "documents", "0"]
    assert value(outputs[4]) == "['kitchen']"
    assert value(outputs[5]) == "True"
    assert "doc_id" in value(outputs[6])
    assert (tmp_path / "exports" / "text" / "index.json").is_file()
    kinds = {output.output_type for each in outputs for output in each}
    assert kinds <= {"execute_result", "stream"}, "progress is plain text"
    assert all(output.name == "stderr" for each in outputs for output in each if output.output_type == "stream")


def test_a_notebook_says_which_folder_hides_cuvee(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"warehouse/__init__.py": ""})
    with pytest.raises(nbclient.exceptions.CellExecutionError) as raised:
        run(tmp_path, monkeypatch, "import cuvee")
    assert raised.value.ename == "ImportError"
    assert raised.value.evalue.startswith(f"{tmp_path / 'warehouse'} hides Cuvée's package warehouse")
    assert "rename it, or start Python in another folder" in raised.value.evalue
