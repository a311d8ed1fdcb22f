"""The real store in a temporary directory, under the engine's bench."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.core.store import Store
from tests.core.fakes import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Store(tmp_path / "store"))
