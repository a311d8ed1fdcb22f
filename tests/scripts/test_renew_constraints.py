"""constraints.txt is written in one form, and it fits pyproject.toml."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cosybuild.run.tested_versions import read_tested
from tests.docs.pages import ROOT

MARKERS = {
    "python_version": "3.12",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "sys_platform": "linux",
}


@pytest.fixture
def renew() -> Any:
    return importlib.import_module("renew_constraints")


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_conditions_come_from_the_project_or_from_the_python_of_a_package(renew: Any, tmp_path: Path) -> None:
    package = importlib.import_module("environments").Package
    packages = [
        package("array", "2.0", ">=3.11", ()),
        package("late", "1.0", ">=3.11.5,<4", ()),
        package("plain", "1.0", ">=3.8", ()),
        package("runtime-gpu", "1.5", ">=3.11", ()),
        package("until", "1.0", ">=3.9,<3.13", ()),
    ]
    requirements = [
        "runtime-gpu>=1; python_version >= '3.11' and sys_platform == 'linux'",
        "runtime-gpu>=1; python_version >= '3.11' and sys_platform == 'win32'",
        "plain; extra == 'test'",
    ]
    text = renew.constraints_text(packages, MARKERS, requirements)
    assert lines(text) == [
        'array==2.0 ; python_full_version >= "3.11"',
        'late==1.0 ; python_full_version >= "3.11.5"',
        "plain==1.0",
        'runtime-gpu==1.5 ; python_version >= "3.11" and sys_platform == "linux"',
        'until==1.0 ; python_full_version < "3.13"',
    ]
    path = tmp_path / "constraints.txt"
    path.write_text(text, encoding="utf-8")
    assert (read_tested(path).python, read_tested(path).platform) == ("3.12", "Linux x86_64")


def test_changes_are_listed(renew: Any, tmp_path: Path) -> None:
    head = "# Tested with Python 3.11 on Linux x86_64.\n"
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.write_text(f"{head}a==1\nb==1\nc==1\n", encoding="utf-8")
    new.write_text(f"{head}a==1\nb==2\nd==1\n", encoding="utf-8")
    assert list(renew.changes(old, new)) == ["b: 1 -> 2", "c: 1 -> (absent)", "d: (absent) -> 1"]


def test_the_file_has_public_versions_of_packages_that_every_build_of_torch_needs() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    for line in lines(text):
        assert re.fullmatch(r'[a-z0-9-]+==[a-z0-9.]+( ; [\w"=<>. ]+)?', line), line
        assert not re.match(r"nvidia|cuda|triton(?!client)", line), line
    assert "://" not in text


def test_the_file_has_every_direct_requirement_within_its_range(renew: Any) -> None:
    tested = read_tested().versions
    direct = [Requirement(text) for text in importlib.metadata.requires("cosybuild") or ()]
    for requirement in direct:
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *renew.EXTRAS)):
            version = tested.get(canonicalize_name(requirement.name))
            if version is not None:
                assert requirement.specifier.contains(version), requirement
    # Requirements without a condition must be in the file on every machine.
    plain = {canonicalize_name(r.name) for r in direct if r.marker is None} - {"numpy"}
    assert plain <= set(tested)
