"""The modules that benchmarks import exist: the type checker does not read these scripts."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).resolve().parents[2] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_imported_module_exists(script: Path) -> None:
    tree = ast.parse(script.read_text(encoding="utf-8"))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    ours = [name for name in names if name.partition(".")[0] == "cosybuild"]
    assert [name for name in ours if importlib.util.find_spec(name) is None] == []
