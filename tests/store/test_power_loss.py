"""After a power cut during its publication or removal, a result is complete or absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cosybuild.store.gc import collect
from cosybuild.store.store import Store
from tests.powerloss import in_memory, recorded, restored
from tests.store.storing import build, key_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="directories are synced there")

FILES = {"graph": b"a graph", "data": b"its weights"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as directory:
        yield directory


def hold(place: Path, body: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Cut the power at every moment of `body`; for each state, return True if the store has the complete result."""
    (place / "store").mkdir(exist_ok=True)
    found, _ = recorded(place / "store", body)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    outcomes = []
    for number, disk in enumerate(found):
        root = restored(disk, place / f"disk{number}")
        # After a power cut the owner of a lock has ended; in this test the owner is this process.
        shutil.rmtree(root / "locks", ignore_errors=True)
        store = Store(root, warn=lambda message: None)
        entry = store.find(key_of(opset="18"))
        if entry is not None:
            contents = {file.name: file.path.read_bytes() for file in entry.outputs["graph"].files}
            assert contents == FILES
        outcomes.append(entry is not None)
        # The next build succeeds from every state.
        if number % 10 == 0:
            assert build(store, key_of(opset="18"), **FILES).size == sum(map(len, FILES.values()))
        shutil.rmtree(root)
    return outcomes


@pytest.mark.attack("interrupt", "the old or the new state")
def test_a_power_cut_during_publishing_leaves_the_complete_entry_or_none(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(place / "store", warn=lambda message: None)
    outcomes = hold(place, lambda: build(store, key_of(opset="18"), **FILES), monkeypatch)
    assert {True, False} == set(outcomes)


@pytest.mark.attack("interrupt", "the old or the new state")
def test_a_power_cut_during_gc_leaves_every_remaining_entry_complete(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(place / "store", warn=lambda message: None)
    build(store, key_of(opset="18"), **FILES)
    build(store, key_of(opset="20"), graph=b"another", data=FILES["data"])
    outcomes = hold(place, lambda: collect(store, older_than=0.0, grace=-1), monkeypatch)
    assert {True, False} == set(outcomes)
