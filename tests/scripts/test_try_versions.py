"""Tests of other versions: the differences from constraints.txt, and a report that never fails a run."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

from cosybuild.run.tested_versions import read_tested
from tests.docs.pages import ROOT


def test_newer_or_unlisted_packages_differ() -> None:
    script: Any = importlib.import_module("try_versions")
    package = importlib.import_module("environments").Package
    tested = read_tested().versions
    packages = [package("onnx", tested["onnx"], "", ()), package("rich", "99.1", "", ()), package("new", "1.0", "", ())]
    assert script.differences(packages) == [f"rich {tested['rich']} -> 99.1", "new (absent) -> 1.0"]


def test_a_report_exits_with_success_in_every_case() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "try_versions.py"), "highest", "--report"]
    late = subprocess.run([*command, "--minutes", "0"], capture_output=True, text=True, check=True)
    assert late.stdout.startswith("newest versions: not looked for; 0 minutes were not enough for: ")
    words = [*command, "--python", "/bin/false"]
    failed = subprocess.run(words, capture_output=True, text=True, check=True)
    assert failed.stdout.startswith("newest versions: not looked for; `-m venv")
    assert failed.stdout.endswith("failed: it ended with 1\n")
