"""The notebooks run from top to bottom, and are kept without their outputs."""

from __future__ import annotations

import pathlib

import nbclient
import nbformat
import pytest

from reasoning_rl.pipelines import search

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))

each_notebook = pytest.mark.parametrize(
  "path", NOTEBOOKS, ids=lambda path: path.stem
)


def read(path):
  notebook = nbformat.read(path, as_version=4)
  nbformat.validate(notebook)
  return notebook


def code_cells(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shrink(notebook, workdir):
  """Overrides the parameters where papermill would, in the tagged cell."""
  tagged = [
    cell
    for cell in notebook.cells
    if "parameters" in cell.metadata.get("tags", ())
  ]
  assert len(tagged) == 1
  for name in ("VARIANT = ", "WORKDIR = "):
    assert name in tagged[0].source
  tagged[0].source += f"\nVARIANT = 'tiny'\nWORKDIR = {str(workdir)!r}\n"


def shown(notebook, mime):
  """Returns what the cells displayed of one type."""
  return [
    output.data[mime]
    for cell in code_cells(notebook)
    for output in cell.outputs
    if mime in output.get("data", {})
  ]


def test_there_is_a_notebook():
  assert NOTEBOOKS


def printed(notebook):
  """Returns what each cell printed."""
  return [
    "".join(o.text for o in cell.outputs if o.output_type == "stream")
    for cell in code_cells(notebook)
  ]


@each_notebook
def test_notebook_is_kept_without_outputs(path):
  for cell in code_cells(read(path)):
    assert cell.outputs == [], cell.source
    assert cell.execution_count is None, cell.source


@each_notebook
def test_first_cell_says_what_where_and_how_long(path):
  first = read(path).cells[0]
  assert first.cell_type == "markdown"
  assert "colab-badge.svg" in first.source
  for word in ("**What.**", "**Where.**", "**How long.**"):
    assert word in first.source


@each_notebook
def test_cells_define_nothing_that_could_be_imported(path):
  for cell in code_cells(read(path)):
    words = {line.split(" ")[0] for line in cell.source.splitlines()}
    assert not words & {"def", "class", "while"}, cell.source


@each_notebook
def test_notebook_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
  # The kernel is a process of its own, and inherits the environment.
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
  monkeypatch.setenv("PYTHONPATH", str(ROOT))
  notebook = read(path)
  shrink(notebook, tmp_path / "run")
  nbclient.NotebookClient(
    notebook,
    timeout=600,
    kernel_name="python3",
    resources={"metadata": {"path": path.parent}},
  ).execute()
  frames = ["srcdoc=" in html for html in shown(notebook, "text/html")]
  if path.stem == "quickstart":
    assert len(shown(notebook, "image/png")) == 2
    assert any(frames)
    assert (tmp_path / "run" / "report" / "index.html").is_file()
  else:
    # Each search is drawn, and searches are compared side by side.
    assert frames.count(True) == 6
    tables = [x for x in printed(notebook) if x.startswith("search ")]
    assert len(tables) == 4
    for method in search.METHODS:
      assert f"\n{method} " in tables[0]
