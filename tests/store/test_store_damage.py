"""Damaged or overwritten files of a store are named, moved to quarantine and built again."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from cosybuild.errors import StoreError
from cosybuild.store.entry import Entry
from cosybuild.store.store import Store
from tests.store.storing import again, build, key_of, overwrite, rot


@pytest.mark.attack("stale", "the damage is named, the step is built again")
@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("overwrite", "has other content"),
        ("truncate", "has 5 bytes instead of 13"),
        ("truncate, times and all", "has 5 bytes instead of 13"),
        ("grow", "has 22 bytes instead of 13"),
        ("delete", "is missing"),
        ("directory", "is not a regular file"),
        ("replace", "has other content"),
    ],
)
def test_a_damaged_content_is_named_and_rebuilt_and_quarantined(
    store: Store, warnings: list[str], how: str, what: str
) -> None:
    key = key_of()
    path = build(store, key, **{"graph.onnx": b"right content"}).outputs["graph"].path
    path.chmod(0o644)
    if how == "overwrite":
        overwrite(path, 3)
    elif how == "truncate":
        path.write_bytes(b"right")
    elif how == "truncate, times and all":
        stat = path.stat()
        path.write_bytes(b"right")
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif how == "grow":
        path.write_bytes(b"right content and more")
    elif how == "delete":
        path.unlink()
    elif how == "directory":
        path.unlink()
        path.mkdir()
    else:
        path.unlink()
        path.write_bytes(b"wrong content")
    later = again(store, warnings)
    assert later.find(key) is None
    assert later.find(key) is None
    assert len(warnings) == 1
    assert "graph.onnx" in warnings[0]
    assert f"({path}) {what}" in warnings[0]
    assert later.damage(key) is not None
    assert list(later.entries()) == []
    rebuilt = build(later, key, **{"graph.onnx": b"right content"})
    assert rebuilt.outputs["graph"].path.read_bytes() == b"right content"
    assert later.damage(key) is None
    assert again(store, warnings).find(key) == rebuilt
    assert len(list(store.layout.quarantine.glob("*"))) == (0 if how == "delete" else 1)


@pytest.mark.attack("stale", "the damage is named, the step is built again")
def test_every_flipped_byte_of_an_entry_is_detected(store: Store, warnings: list[str]) -> None:
    key = key_of(opset="18")
    entry = build(store, key, graph=b"x")
    path = store.entry_path(key.stage, key.digest)
    data = path.read_bytes()
    for offset in range(len(data)):
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
        warnings.clear()
        found = again(store, warnings).find(key)
        # JSON allows blanks between values; a blank that becomes another blank changes nothing.
        assert found is None or found == entry
        assert (found is None) == (len(warnings) == 1)
        assert found is not None or str(path) in warnings[0]
    path.write_bytes(data[:-9])
    later = again(store, warnings)
    assert later.find(key) is None
    assert build(later, key, graph=b"x") == entry
    assert again(store, warnings).find(key) == entry
    assert [file.name.startswith(key.digest) for file in store.layout.quarantine.iterdir()] == [True]


@pytest.mark.attack("stale", "the damage is named, the step is built again")
def test_an_entry_moved_under_another_name_is_refused(store: Store, warnings: list[str]) -> None:
    build(store, key_of(opset="18"), graph=b"18")
    wanted = key_of(opset="17")
    right = store.entry_path("export", key_of(opset="18").digest)
    right.rename(store.entry_path("export", wanted.digest))
    assert store.find(wanted) is None
    assert f"the entry {store.entry_path('export', wanted.digest)} has a key that does not match" in warnings[0]


@pytest.mark.attack("stale", "the damage is named, the step is built again")
def test_an_entry_that_cannot_be_read_is_rebuilt(store: Store, warnings: list[str]) -> None:
    keys = [key_of(a="1"), key_of(a="2")]
    for key in keys:
        build(store, key, graph=b"x")
        path = store.entry_path(key.stage, key.digest)
        path.unlink()
        path.mkdir()
        assert store.find(key) is None
        assert f"the entry {path} cannot be read (" in warnings[-1]
        entry = build(store, key, graph=b"x")
        assert again(store, warnings).find(key) == entry
    assert len(list(store.layout.quarantine.iterdir())) == 2


def test_an_entry_that_vanishes_before_it_is_moved_is_rebuilt(store: Store, warnings: list[str]) -> None:
    """A check of the whole store takes no locks, so it may move the entry first."""
    key = key_of()
    build(store, key, graph=b"x")
    path = store.entry_path(key.stage, key.digest)
    overwrite(path)
    looking = store.entry_files.examine

    def look_then_lose(path: Path, *, thorough: bool) -> tuple[Entry | None, str | None]:
        found = looking(path, thorough=thorough)
        if store._held:
            path.unlink(missing_ok=True)
        return found

    assert store.find(key) is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.entry_files, "examine", look_then_lose)
        entry = build(store, key, graph=b"x")
    assert again(store, warnings).find(key) == entry


def test_a_store_without_a_usable_quarantine_refuses_to_build(store: Store, warnings: list[str]) -> None:
    key = key_of()
    build(store, key, graph=b"x")
    overwrite(store.entry_path(key.stage, key.digest))
    store.layout.quarantine.write_bytes(b"")
    assert store.find(key) is None
    with pytest.raises(StoreError, match="Cannot move damaged results within") as caught:
        build(store, key, graph=b"x")
    assert str(store.path) in str(caught.value)
    assert list(store.layout.locks.iterdir()) == []


def test_damage_that_another_process_repaired_is_not_reported(store: Store, warnings: list[str]) -> None:
    key = key_of()
    overwrite(build(store, key, graph=b"content").outputs["graph"].path)
    assert store.find(key) is None
    mended = build(again(store, warnings), key, graph=b"content")
    assert store.find(key) == mended
    assert store.damage(key) is None


def test_a_damaged_cache_of_digests_is_named(store: Store, warnings: list[str], tmp_path: Path) -> None:
    store.layout.prepare()
    store.layout.digests.write_bytes(b"damaged")
    (tmp_path / "flow.pt").write_bytes(b"weights")
    assert store.source("weights", tmp_path / "flow.pt").size == 7
    assert str(store.layout.digests) in warnings[0]


def test_listing_the_entries_reads_no_contents(store: Store, warnings: list[str]) -> None:
    entry = build(store, key_of(), graph=b"content")
    rot(entry.outputs["graph"].path)
    assert list(again(store, warnings, verify=True).entries()) == [entry]


def test_damage_is_logged_if_there_is_no_other_receiver(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    path = build(store, key_of(), graph=b"content").outputs["graph"].path
    overwrite(path)
    assert Store(store.path).find(key_of()) is None
    ((logger, level, message),) = caplog.record_tuples
    assert (logger, level) == ("cosybuild", logging.WARNING)
    assert str(path) in message


@pytest.mark.attack("stale", "the damage is named, the step is built again")
def test_damage_that_keeps_the_times_is_found_by_verify(store: Store, warnings: list[str]) -> None:
    key = key_of()
    path = build(store, key, graph=b"content").outputs["graph"].path
    rot(path)
    assert again(store, warnings).find(key) is not None
    strict = again(store, warnings, verify=True)
    assert strict.find(key) is None
    assert "other content" in warnings[0]
    build(strict, key, graph=b"content")
    assert again(store, warnings, verify=True).find(key) is not None
    assert len(list(store.layout.quarantine.iterdir())) == 1


@pytest.mark.parametrize("offset", range(35))
def test_a_flipped_bit_of_the_version_is_no_newer_version(store: Store, warnings: list[str], offset: int) -> None:
    key = key_of()
    entry = build(store, key, graph=b"1")
    right = store.layout.version.read_bytes()
    assert offset < len(right)
    overwrite(store.layout.version, offset)
    later = again(store, warnings)
    assert later.find(key) == entry
    assert "VERSION is damaged" in warnings[0]
    build(later, key_of(a="2"), graph=b"2")
    assert store.layout.version.read_bytes() == right
