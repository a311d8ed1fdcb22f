"""Each notebook in examples/ prints what it shows, when its cells are run in order in an empty directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples").rglob("*.ipynb"))
_END = "-- end of a cell --"


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cells_print_what_the_notebook_shows(notebook: Path, tmp_path: Path) -> None:
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    script = tmp_path / "cells.py"
    script.write_text(f"\nprint({_END!r})\n".join("".join(cell["source"]) for cell in cells), encoding="utf-8")
    environment = {**os.environ, "MODEL_DIR": str(ROOT / "tests" / "data" / "cosyvoice2_tiny")}
    command = [sys.executable, script.name]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    shown = ["".join("".join(output["text"]) for output in cell["outputs"]) for cell in cells]
    assert ran.stdout.split(f"{_END}\n") == shown
