"""The tested versions compared with the installed ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.run.tested_versions import read_tested
from cosybuild.system.environment import Environment

TEXT = """\
# Tested with Python 3.11 on Linux x86_64.
numpy==2.4.6 ; python_full_version >= "3.0"
torch==2.13.0
PyYAML==6.0.4
old==1.0 ; python_version < "3"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "constraints.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_only_packages_with_other_installed_versions_differ(path: Path) -> None:
    tested = read_tested(path)
    assert tested.versions == {"numpy": "2.4.6", "torch": "2.13.0", "pyyaml": "6.0.4"}
    installed: dict[str, str | None] = {"numpy": "2.4.7", "torch": "2.13.0+cpu", "pyyaml": None, "old": "3"}
    assert tested.differences(Environment(installed)) == {"numpy": ("2.4.7", "2.4.6")}


def test_the_shipped_file_names_the_packages_that_a_build_needs() -> None:
    tested = read_tested()
    assert {"torch", "onnx", "onnxscript", "hydra-core"} <= set(tested.versions)
    assert tested.path.is_file()
