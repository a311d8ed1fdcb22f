"""The check names the path, the fault, the owner and the quarantine of each damaged part."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cosybuild.errors import StoreError
from cosybuild.store.check import Fault, check
from cosybuild.store.store import Store
from tests.store.storing import build, key_of, overwrite, rot


def aside(store: Store, fault: Fault) -> bytes:
    """Return the moved files, from the quarantine."""
    assert fault.moved_to is not None
    assert fault.moved_to.parent == store.layout.quarantine
    assert fault.moved_to.name.startswith(f"{fault.path.name}.")
    return fault.moved_to.read_bytes()


def test_a_whole_store_is_counted(store: Store) -> None:
    build(store, key_of(a="1"), graph=b"shared", weights=b"only one's")
    build(store, key_of(a="2"), graph=b"shared")
    read: list[Path] = []
    done = check(store, on_object=read.append)
    assert (done.entries, done.objects, done.size, done.faults) == (2, 2, len(b"sharedonly one's"), ())
    assert read == sorted(store.objects.locate(digest) for digest, _ in store.objects)


def test_contents_are_reported_with_their_fault(store: Store) -> None:
    keys = [key_of(a="1"), key_of("engine", a="1"), key_of(a="2"), key_of(a="3"), key_of(a="4")]
    contents = [b"shared", b"shared", b"longer", b"missing", b"rotten"]
    entries = [build(store, key, graph=content) for key, content in zip(keys, contents, strict=True)]
    shared, longer, missing, rotten = (entry.outputs["graph"].path for entry in entries[1:])
    shared.unlink()
    shared.write_bytes(b"sha")
    longer.unlink()
    longer.write_bytes(b"longer and longer")
    missing.unlink()
    rot(rotten)
    faults = {fault.path: fault for fault in check(Store(store.path)).faults}
    assert {path: fault.stages for path, fault in faults.items()} == {
        shared: ("engine", "export"), longer: ("export",), missing: ("export",), rotten: ("export",)}  # fmt: skip
    assert faults[shared].what == "has 3 bytes instead of 6"
    assert faults[longer].what == "has 17 bytes instead of 6"
    assert (faults[missing].what, faults[missing].moved_to) == ("is missing", None)
    assert faults[rotten].what.startswith("has other content")
    assert [aside(store, faults[path]) for path in (shared, longer)] == [b"sha", b"longer and longer"]
    assert aside(store, faults[rotten]) != b"rotten"
    assert check(Store(store.path)).faults[0].what == "is missing", "what was moved is missing until it is built again"


def test_an_unused_content_is_read_too(store: Store) -> None:
    key = key_of(a="1")
    content = build(store, key, graph=b"left over").outputs["graph"].path
    store.entry_path(key.stage, key.digest).unlink()
    rot(content)
    (fault,) = check(Store(store.path)).faults
    assert (fault.path, fault.stages) == (content, ())


def test_damage_that_keeps_the_times_is_found_by_the_thorough_check_only(store: Store) -> None:
    rotten = build(store, key_of(a="1"), graph=b"rotten").outputs["graph"].path
    cut = build(store, key_of(a="2"), graph=b"cut").outputs["graph"].path
    rot(rotten)
    stat = cut.stat()
    cut.chmod(0o644)
    cut.write_bytes(b"c")
    cut.chmod(stat.st_mode)
    os.utime(cut, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert [fault.path for fault in check(Store(store.path), repair=False, thorough=False).faults] == [cut]
    quick = check(Store(store.path), thorough=False)
    assert [(fault.path, aside(store, fault)) for fault in quick.faults] == [(cut, b"c")]
    assert {fault.path for fault in check(Store(store.path), repair=False).faults} == {rotten, cut}


def test_every_entry_that_is_not_valid_is_moved_to_the_quarantine(store: Store) -> None:
    keys = [key_of(a="1"), key_of(a="2"), key_of("engine", a="1"), key_of("verify", a="1")]
    for key in keys:
        build(store, key, graph=b"1")
    first, second, directory, _ = (store.entry_path(key.stage, key.digest) for key in keys)
    overwrite(first, 30)
    overwrite(second, 30)
    directory.unlink()
    directory.mkdir()
    for repair in (False, True):
        done = check(Store(store.path), repair=repair)
        faults = {fault.path: fault for fault in done.faults}
        assert done.entries == 4
        assert {path: fault.stages for path, fault in faults.items()} == {
            first: ("export",), second: ("export",), directory: ("engine",)}  # fmt: skip
        assert faults[directory].what.startswith("cannot be read (")
        assert faults[first].what == faults[second].what == "does not match its checksum"
        assert [fault.moved_to is not None for fault in done.faults] == [repair] * 3
    assert b"export" in aside(store, faults[first])
    assert check(Store(store.path)).faults == ()


def test_an_entry_that_is_removed_while_the_store_is_read_is_no_fault(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process removes or repairs it between the listing and the reading."""
    keys = [key_of(a="1"), key_of(a="2"), key_of(a="3")]
    for key in keys:
        build(store, key, graph=b"1")
    first, second, third = store.entry_files.paths()
    first.unlink()
    overwrite(second, 30)
    monkeypatch.setattr(store.entry_files, "paths", lambda: iter([first, second, third]))
    (fault,) = check(store).faults
    assert fault.path == second
    monkeypatch.undo()
    overwrite(third, 30)

    def repaired_elsewhere(path: Path, target: Path) -> Path:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "rename", repaired_elsewhere)
    assert [(fault.path, fault.moved_to) for fault in check(store).faults] == [(third, None)]


def test_the_error_names_a_store_that_cannot_be_read(store: Store) -> None:
    store.path.mkdir()
    (store.path / "objects").write_bytes(b"no directory")
    with pytest.raises(StoreError, match=r"Cannot check the store") as caught:
        check(store)
    assert str(store.path) in str(caught.value)
