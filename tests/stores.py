"""Fixtures: the real store in a temporary directory, and a build of fake stages with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cosybuild.store.store import Store
from tests.building.fakes import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Store(tmp_path / "store"))


@pytest.fixture
def warnings() -> list[str]:
    """Return the warnings of the store."""
    return []


@pytest.fixture
def store(tmp_path: Path, warnings: list[str]) -> Store:
    return Store(tmp_path / "the störe, 店", warn=warnings.append)


@pytest.fixture
def empty_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty the memory file system, whose files would else stay for the whole process."""
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
