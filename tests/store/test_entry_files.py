"""The files of entries: their paths, what reading them reports, and their move to the quarantine."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.errors import ConfigurationError
from cosybuild.store.entry import DamagedEntry
from cosybuild.store.store import Store
from tests.store.storing import build, key_of


def test_paths_are_in_order_of_stage_and_key(store: Store) -> None:
    for stage in ("verify", "export"):
        build(store, key_of(stage), graph=b"x")
    names = [path.parent.name for path in store.entry_files.paths()]
    assert names == ["export", "verify"]


@pytest.mark.parametrize("stage", ["../export", "a/b", "", "."])
def test_a_stage_of_a_foreign_record_cannot_name_another_directory(store: Store, stage: str) -> None:
    with pytest.raises(ConfigurationError):
        store.entry_files.path(stage, "0" * 64)


def test_a_missing_entry_is_no_damage(store: Store) -> None:
    path = store.entry_path("export", "0" * 64)
    assert store.entry_files.read(path) is None
    assert store.entry_files.examine(path, thorough=True) == (None, None)
    assert store.entry_files.set_aside(path) is None


def test_an_entry_under_the_name_of_another_key_is_damaged(store: Store) -> None:
    key = key_of()
    build(store, key, graph=b"x")
    path = store.entry_path(key.stage, key.digest)
    other = path.rename(path.with_name(f"{'0' * 64}.json"))
    with pytest.raises(DamagedEntry):
        store.entry_files.read(other)
    entry, fault = store.entry_files.examine(other, thorough=False)
    assert entry is None
    assert fault is not None
    assert str(other) in fault


def test_a_directory_in_place_of_an_entry_is_damage_that_can_be_moved(store: Store) -> None:
    path: Path = store.entry_path("export", "0" * 64)
    path.mkdir(parents=True)
    with pytest.raises(DamagedEntry, match="cannot be read"):
        store.entry_files.read(path)
    moved = store.entry_files.set_aside(path)
    assert moved is not None
    assert moved.parent == store.layout.quarantine
    assert not path.exists()
