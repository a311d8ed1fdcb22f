"""Versions from pip's report, commands with a time limit, and tests in other environments."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

MARKERS = {"python_version": "3.11", "platform_system": "Linux", "platform_machine": "x86_64"}


@pytest.fixture
def environments() -> Any:
    return importlib.import_module("environments")


def chosen(name: str, version: str, *requires: str, python: str | None = None) -> dict[str, Any]:
    return {"metadata": {"name": name, "version": version, "requires_dist": list(requires), "requires_python": python}}


def test_packages_have_public_versions_and_no_library_of_one_build_of_torch(environments: Any) -> None:
    report = {
        "environment": MARKERS,
        "install": [
            chosen("cosybuild", "0.1", "torch>=2", "Other_One[fast]; python_version > '3'", "tool; extra == 'test'"),
            chosen("torch", "2.13.0+cu130", "sympy>=1", 'cuda-libs==13.0; platform_system == "Linux"'),
            chosen("cuda-libs", "13.0", "cuda-more"),
            chosen("cuda-more", "1.0"),
            chosen("sympy", "1.14"),
            chosen("other-one", "1.0rc1", "quick==2.0; extra == 'fast'", "slow; extra == 'slow'", python=">=3.11"),
            chosen("quick", "2.0"),
            chosen("slow", "1.0"),
            chosen("tool", "5"),
        ],
    }
    found = {one.name: (one.version, one.python) for one in environments.packages_of(report, ["test"])}
    assert found == {
        "torch": ("2.13.0", ""),
        "sympy": ("1.14", ""),
        "other-one": ("1.0rc1", ">=3.11"),
        "quick": ("2.0", ""),
        "tool": ("5", ""),
    }
    assert "tool" not in {one.name for one in environments.packages_of(report, [])}


def test_a_command_that_takes_too_long_is_ended(environments: Any) -> None:
    deadline = environments.Deadline(minutes=0.002)
    with pytest.raises(environments.TooLate):
        deadline.run([sys.executable, "-c", "import time; time.sleep(600)"])


def test_failing_tests_are_named(environments: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # these take most of the time
    test = tmp_path / "test_it.py"
    test.write_text("def test_good(): pass\ndef test_bad(): assert False\n", encoding="utf-8")
    words = ["--rootdir", str(tmp_path), "-c", "/dev/null", str(test)]
    found = environments.broken_tests(Path(sys.executable), words, environments.Deadline())
    assert [name.rpartition("::")[2] for name in found] == ["test_bad"]
    assert environments.broken_tests(Path(sys.executable), ["--no-such-option"], environments.Deadline()) is None
