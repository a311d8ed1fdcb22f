"""Fixtures: a valid bundle, made once, and a directory for each attempt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.ground import Ground
from tests.attacks.sender import make_bundle


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("stranger"))


@pytest.fixture
def ground(stranger: Path, tmp_path: Path) -> Ground:
    return Ground(tmp_path, stranger)
