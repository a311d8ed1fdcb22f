"""The inventory of a store, also while other processes change it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosybuild.errors import StoreError
from cosybuild.store.entry import Entry
from cosybuild.store.inventory import take_inventory
from cosybuild.store.store import Store
from tests.store.storing import build, key_of


def test_the_most_recently_used_result_is_first(store: Store) -> None:
    keys = [key_of(number=str(number)) for number in range(4)]
    for key, used in zip(keys, (300, 100, 400, 200), strict=True):
        build(Store(store.path), key, graph=b"%1000d" % used)
        os.utime(store.entry_path(key.stage, key.digest), (used, used))
    inventory = take_inventory(store)
    assert [(row.entry.key, row.used) for row in inventory.rows] == [
        (keys[2], 400), (keys[0], 300), (keys[3], 200), (keys[1], 100)]  # fmt: skip
    assert (inventory.contents, inventory.size, inventory.quarantined, inventory.working) == (4, 4000, 0, 0)


def test_sizes_include_files_at_any_depth(store: Store) -> None:
    build(store, key_of(a="1"), graph=b"123", weights=b"4567")
    build(store, key_of(a="2"), graph=b"123")
    store.layout.quarantine.mkdir()
    (store.layout.quarantine / "damaged").write_bytes(b"12345")
    (store.layout.quarantine / "an entry that was a directory").mkdir()
    (store.layout.tmp / "engine-1" / "work").mkdir(parents=True)
    (store.layout.tmp / "engine-1" / "claim").write_bytes(b"12")
    (store.layout.tmp / "engine-1" / "work" / "half").write_bytes(b"1234567")
    inventory = take_inventory(store)
    assert (inventory.contents, inventory.size, inventory.quarantined, inventory.working) == (2, 7, 5, 9)
    assert len(inventory.rows) == 2


def test_files_removed_during_the_count_are_left_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in "123":
        build(store, key_of(a=number), graph=b"1")
    (store.layout.tmp / "half").write_bytes(b"123")
    (store.layout.tmp / "whole").write_bytes(b"12345")
    listed, found = store.entries, Path.rglob

    def collected(every: Iterator[Entry]) -> Iterator[Entry]:
        for number, entry in enumerate(every):
            if number == 1:
                store.entry_path(entry.key.stage, entry.key.digest).unlink()
            yield entry

    def swept(path: Path, pattern: str) -> Iterator[Path]:
        for file in [*found(path, pattern)]:
            if file.name == "half":
                file.unlink()
            yield file

    monkeypatch.setattr(store, "entries", lambda: collected(listed()))
    monkeypatch.setattr(Path, "rglob", swept)
    inventory = take_inventory(store)
    assert len(inventory.rows) == 2
    assert inventory.working == 5


def test_the_error_names_a_store_that_cannot_be_read(store: Store) -> None:
    store.path.mkdir()
    (store.path / "objects").write_bytes(b"no directory")
    with pytest.raises(StoreError, match=r"Cannot list the store") as caught:
        take_inventory(store)
    assert str(store.path) in str(caught.value)
