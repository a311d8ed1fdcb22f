"""Fixtures: directories in service, exported once for all tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.runtime.voice.services import new_service


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Return a function: version -> directory in service; tests that change one use `service`."""
    return cache(lambda version: new_service(tmp_path_factory.mktemp(f"voice{version}"), version))


@pytest.fixture
def service(tmp_path: Path, services: Callable[[int], Path]) -> Path:
    """Return a copy of version 2's directory that the test may change."""
    return Path(shutil.copytree(services(2), tmp_path / "service"))
