"""The machine in a report: every package that can change a result."""

from __future__ import annotations

import importlib.metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cosybuild.run.facts import DISTRIBUTIONS, versions_of
from cosybuild.system.environment import Environment

SHAPES_NOTHING = {"markdown-it-py", "rich", "packaging", "fsspec", "msgspec"}
"""Packages that change no result: they print, read versions, transfer files checked by digest, or check types."""


def test_every_direct_requirement_that_can_change_a_result_is_recorded() -> None:
    direct = map(Requirement, importlib.metadata.requires("cosybuild") or ())
    needed = {canonicalize_name(one.name) for one in direct if "extra" not in str(one.marker)}
    assert needed - SHAPES_NOTHING <= set(DISTRIBUTIONS)


def test_only_installed_packages_are_recorded() -> None:
    installed: dict[str, str | None] = dict.fromkeys(DISTRIBUTIONS)
    assert versions_of(Environment({**installed, "torch": "2.13.0+cpu"})) == {"torch": "2.13.0+cpu"}
