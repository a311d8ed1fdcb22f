"""A run's artifacts have the right bytes and names, and writing to them never changes the store."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sys
import time
from pathlib import Path

import pytest

from cosybuild.errors import StoreError
from cosybuild.store import checkout as links
from cosybuild.store.checkout import copy_of
from cosybuild.store.hash_cache import stamp_of
from cosybuild.store.store import Store
from tests.store.storing import NOBODY, build, in_child, key_of, overwrite, rot


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_files_get_the_requested_names(store: Store, tmp_path: Path) -> None:
    graph = build(store, key_of(), **{"graph.onnx": b"main", "graph.data": b"weights"}).outputs["graph"]
    run = tmp_path / "run ü" / "artifacts"
    placed = store.checkout(graph, run, {"graph.onnx": "flow.decoder.estimator.fp32.onnx"})
    assert placed == (run / "flow.decoder.estimator.fp32.onnx", run / "graph.data")
    assert [path.read_bytes() for path in placed] == [b"main", b"weights"]
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in placed)


def test_an_existing_file_with_the_right_content_is_not_changed(store: Store, tmp_path: Path) -> None:
    graph = build(store, key_of(), graph=b"main").outputs["graph"]
    (path,) = store.checkout(graph, tmp_path / "run")
    inode = path.stat().st_ino
    store.checkout(graph, tmp_path / "run")
    assert path.stat().st_ino == inode
    path.unlink()
    path.write_bytes(b"main")  # the same content, written by another process
    inode = path.stat().st_ino
    store.checkout(graph, tmp_path / "run")
    assert path.stat().st_ino == inode


@pytest.mark.parametrize("other", ["older", "longer text", "link", "dangling"])
def test_an_existing_file_with_other_content_is_replaced(store: Store, tmp_path: Path, other: str) -> None:
    graph = build(store, key_of(), graph=b"newer").outputs["graph"]
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "graph"
    (tmp_path / "mine").write_bytes(b"mine!")
    if other in ("link", "dangling"):
        path.symlink_to(tmp_path / ("mine" if other == "link" else "nothing"))
    else:
        path.write_text(other)
    store.checkout(graph, tmp_path / "run")
    assert path.read_bytes() == b"newer"
    assert not path.is_symlink()
    assert (tmp_path / "mine").read_bytes() == b"mine!"


def test_a_directory_in_the_way_is_an_error(store: Store, tmp_path: Path) -> None:
    graph = build(store, key_of(), graph=b"1").outputs["graph"]
    (tmp_path / "run" / "graph").mkdir(parents=True)
    with pytest.raises(StoreError, match="directory"):
        store.checkout(graph, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["graph"]


def test_a_missing_content_is_an_error(store: Store, tmp_path: Path) -> None:
    graph = build(store, key_of(), graph=b"1").outputs["graph"]
    graph.path.unlink()
    with pytest.raises(StoreError, match=re.escape(f"Cannot place the artifact {tmp_path / 'run' / 'graph'}: No such")):
        store.checkout(graph, tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_file_where_the_directory_should_be_is_an_error(store: Store, tmp_path: Path) -> None:
    graph = build(store, key_of(), graph=b"1").outputs["graph"]
    (tmp_path / "run").write_bytes(b"")
    with pytest.raises(StoreError, match=re.escape(f"Cannot place artifacts in {tmp_path / 'run'}: a file stands")):
        store.checkout(graph, tmp_path / "run")


def test_a_truncated_artifact_is_replaced_even_if_its_times_are_unchanged(store: Store, tmp_path: Path) -> None:
    graph = build(store, key_of(), graph=b"content").outputs["graph"]
    (path,) = store.checkout(graph, tmp_path / "run")
    written = path.stat().st_mtime_ns
    path.unlink()
    path.write_bytes(b"cont")
    os.utime(path, ns=(written, written))
    store.checkout(graph, tmp_path / "run")
    assert path.read_bytes() == b"content"


def write_through(store: Store, run: Path) -> tuple[str, bool]:
    """Write to an artifact; return its kind, and True if the write succeeded."""
    graph = build(store, key_of(), graph=b"content").outputs["graph"]
    run.mkdir()
    kind = copy_of(graph.path, run / "probe")
    (path,) = store.checkout(graph, run)
    try:
        with path.open("r+b") as file:
            file.write(b"BROKEN!")
    except PermissionError:
        return kind, False
    return kind, True


def let_in(home: Path) -> None:
    """If we are root, give a directory to a user who is not."""
    if os.geteuid() != 0:
        return
    os.chown(home, NOBODY, NOBODY)
    home.parent.chmod(0o755)
    for parent in home.parent.parents:
        if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o005:
            parent.chmod(parent.stat().st_mode | 0o055)


def test_writing_through_an_artifact_cannot_damage_the_store(tmp_path: Path) -> None:
    """Write as the current user and, if that is root, also as another user, whom modes restrict."""
    users = [None, NOBODY] if os.geteuid() == 0 else [None]
    for uid in users:
        home = tmp_path / f"user {uid}"
        home.mkdir()
        if uid is not None:
            let_in(home)
        store = Store(home / "store")
        kind, written = in_child(lambda home=home: write_through(Store(home / "store"), home / "run"), uid=uid)
        entry = Store(store.path, verify=True).find(key_of())
        assert entry is not None
        assert entry.outputs["graph"].path.read_bytes() == b"content"
        assert kind in ("reflink", "copy")
        assert written, "an artifact is the user's own"


def test_a_forced_hard_link_is_detected(tmp_path: Path) -> None:
    warnings: list[str] = []
    store = Store(tmp_path / "store", warn=warnings.append)
    graph = build(store, key_of(), graph=b"content").outputs["graph"]
    (tmp_path / "linked").hardlink_to(graph.path)
    overwrite(tmp_path / "linked")
    assert store.find(key_of()) is None
    assert "other content" in warnings[0]


def test_a_file_system_that_shares_blocks_makes_a_reflink(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of this test may not support reflinks, so the test checks the request."""
    graph = build(store, key_of(), graph=b"content").outputs["graph"]
    asked: list[int] = []

    def clone(target: int, request: int, source: int) -> int:
        asked.append(request)
        os.write(target, os.pread(source, 100, 0))
        return 0

    monkeypatch.setattr(fcntl, "ioctl", clone)
    assert copy_of(graph.path, tmp_path / "clone") == "reflink"
    assert asked == [0x40049409]
    assert (tmp_path / "clone").read_bytes() == b"content"


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EXDEV, errno.ENOTTY, errno.EINVAL])
def test_a_file_system_that_cannot_share_blocks_gets_a_copy(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    graph = build(store, key_of(), graph=b"content").outputs["graph"]

    def refuse(*arguments: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    assert copy_of(graph.path, tmp_path / "made") == "copy"
    assert (tmp_path / "made").stat().st_ino != graph.path.stat().st_ino
    assert (tmp_path / "made").read_bytes() == b"content"


def test_other_errors_of_a_reflink_leave_no_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = build(store, key_of(), graph=b"content").outputs["graph"]

    def refuse(*arguments: int) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    with pytest.raises(StoreError, match="disk is full"):
        store.checkout(graph, tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_old_temporary_files_are_removed_and_new_ones_stay(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = build(store, key_of(), graph=b"content").outputs["graph"]
    run = tmp_path / "run"
    run.mkdir()
    (run / ".cosybuild-abc").write_bytes(b"half")
    os.utime(run / ".cosybuild-abc", (0, 0))  # a complete copy has the time of its source
    (run / ".cosybuild-not-ours").mkdir()
    store.checkout(graph, run)
    assert (run / ".cosybuild-abc").exists()
    later = time.time() + links._LEFTOVER_SECONDS + 60
    monkeypatch.setattr(time, "time", lambda: later)
    store.checkout(graph, run)
    assert sorted(path.name for path in run.iterdir()) == [".cosybuild-not-ours", "graph"]


def test_a_copy_keeps_the_times_of_the_stored_file(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"content")
    os.utime(source, ns=(5_000_000_000, 7_000_000_000))
    copy_of(source, tmp_path / "b")
    assert (tmp_path / "b").stat().st_mtime_ns == 7_000_000_000


def test_a_system_without_the_reflink_call_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    (tmp_path / "a").write_bytes(b"content")
    assert copy_of(tmp_path / "a", tmp_path / "b") == "copy"
    assert (tmp_path / "b").read_bytes() == b"content"


def test_a_flipped_bit_in_an_artifact_is_repaired_even_if_its_times_are_unchanged(store: Store, tmp_path: Path) -> None:
    graph = build(store, key_of(), graph=b"content").outputs["graph"]
    (path,) = store.checkout(graph, tmp_path / "run")
    rot(path)
    store.checkout(graph, tmp_path / "run")
    assert path.read_bytes() == b"content"


def test_a_placed_file_is_not_read_by_the_next_command(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = build(store, key_of(), graph=b"content").outputs["graph"]
    (path,) = store.checkout(graph, tmp_path / "run")
    store.flush()
    monkeypatch.setattr("cosybuild.store.hash_cache.digest_of", lambda path: pytest.fail(f"{path} is read"))
    assert Store(store.path).source("graph", path).digest == graph.digest


def test_a_damaged_stored_file_is_not_placed_but_quarantined(store: Store, tmp_path: Path) -> None:
    graph = build(store, key_of(), graph=b"content").outputs["graph"]
    rot(graph.path)
    with pytest.raises(StoreError, match=re.escape(f"The stored file {graph.path} of graph is damaged")) as caught:
        store.checkout(graph, tmp_path / "run")
    assert caught.value.hint is not None
    assert list((tmp_path / "run").iterdir()) == []
    assert not graph.path.exists()
    assert store.find(key_of()) is None, "it is made anew"


def test_with_verify_existing_files_are_read_even_if_their_digests_are_cached(store: Store, tmp_path: Path) -> None:
    graph = build(store, key_of(), graph=b"content").outputs["graph"]
    (path,) = store.checkout(graph, tmp_path / "run")
    store.flush()
    path.write_bytes(b"CONTENT")
    careful = Store(store.path, verify=True)
    name, stat = str(path), path.stat()
    careful.digests._known = {name: (stamp_of(stat), graph.digest)}  # as on a file system without a ctime
    careful.checkout(graph, tmp_path / "run")
    assert path.read_bytes() == b"content"
