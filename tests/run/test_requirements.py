"""The packages of a run as requirements that pip can read, also for foreign records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from cosybuild.building.record import Outcome
from cosybuild.errors import ConfigurationError
from cosybuild.run.facts import DISTRIBUTIONS
from cosybuild.run.recorded import RecordedRun
from cosybuild.run.requirements import requirements_text, version_changes
from cosybuild.system.environment import Environment


def run_with(versions: dict[str, Any], system: str = "Linux-6.1") -> RecordedRun:
    machine = {"host": "h", "system": system, "python": "3.11.7", "cpus": 2}
    return RecordedRun(Path("runs/model-1"), {"environment": {"machine": machine, "versions": versions}}, Outcome(()))


def test_requirements_have_exact_public_versions_and_a_comment_with_the_python() -> None:
    text = requirements_text(run_with({"torch": "2.13.0+cpu", "cosybuild": "0.1.0", "onnx-ir": "1.1.0"}))
    assert "# Python 3.11.7 on Linux-6.1\n" in text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines[:2] == ["cosybuild==0.1.0", "onnx-ir==1.1.0"]
    assert [str(Requirement(line.partition("#")[0])) for line in lines][2] == "torch==2.13.0"
    assert lines[2].endswith("  # recorded as 2.13.0+cpu, a local build")


@pytest.mark.parametrize(
    ("name", "version"),
    [("torch", "1.0\n--index-url evil"), ("torch", "newest"), ("torch", 2), ("a @ file:///b", "1"), ("-r other", "1")],
)
def test_a_record_with_other_text_than_versions_is_refused(name: str, version: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"report\.json names the version"):
        requirements_text(run_with({name: version}))


def test_a_comment_cannot_become_a_line() -> None:
    text = requirements_text(run_with({}, system="Linux\n--index-url evil"))
    assert all(line.startswith("#") for line in text.splitlines())


def test_versions_that_differ_from_a_record_are_listed() -> None:
    installed: dict[str, str | None] = dict.fromkeys(DISTRIBUTIONS)
    environment = Environment({**installed, "torch": "2.13.0", "numpy": "2.0", "onnx": "1.23"})
    report = run_with({"torch": "2.12.0", "numpy": "2.0", "onnxsim": "0.8"}).report
    assert version_changes(report, environment) == {"torch": ("2.12.0", "2.13.0"), "onnxsim": ("0.8", "(absent)")}
