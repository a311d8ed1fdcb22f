"""Disks that are full, read-only or limited, and processes that die while they write."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosybuild.errors import StoreError
from cosybuild.store.check import check
from cosybuild.store.store import Store
from cosybuild.system.files import clock_of, replacing, store_error, sync_directory, write_atomic, write_text
from tests.mounting import fill, make_read_only, mounted
from tests.store.storing import build, in_child, key_of, publish


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1 MiB."""
    with mounted(tmp_path / "small disk", "1m") as disk:
        yield disk


@pytest.mark.parametrize("leave", [0, *(4096 * pages for pages in (1, 2, 3, 4, 6, 8, 12, 16, 24))])
def test_a_disk_that_fills_up_at_any_point_loses_nothing(small_disk: Path, leave: int) -> None:
    warnings: list[str] = []
    store = Store(small_disk / "store", warn=warnings.append)
    before = build(store, key_of(a="before"), graph=b"x" * 10_000)
    ballast = fill(small_disk, leave)
    key = key_of(a="during")
    source = small_disk.parent / "source"
    source.write_bytes(b"y")
    store.source("weights", source)
    store.flush()
    built, errors = None, []
    try:
        built = build(store, key, graph=os.urandom(20_000), data=os.urandom(5_000))
    except StoreError as error:
        errors.append(str(error))
    assert (built is None) == bool(errors)
    assert all("full" in text and str(store.path) in text and "Next: free" in text for text in errors)
    if leave in (0, 4096 * 24):
        assert (built is None) == (leave == 0)
    assert Store(store.path, warn=warnings.append).find(key) == built
    assert Store(store.path, verify=True, warn=warnings.append).find(before.key) == before
    assert list(store.layout.tmp.iterdir()) == []
    assert list(store.layout.locks.glob("*")) == []
    ballast.unlink()
    assert build(Store(store.path, warn=warnings.append), key, graph=b"again").size == 5
    assert check(store).faults == ()
    assert warnings == []


def test_a_full_disk_that_a_library_hides_is_explained(small_disk: Path) -> None:
    store = Store(small_disk / "store")

    def save() -> None:
        with store.workdir("export"):
            fill(small_disk, 0)
            raise RuntimeError("PytorchStreamWriter failed writing file data/0")

    with pytest.raises(StoreError, match="is full, and so export failed: PytorchStreamWriter"):
        save()


def test_an_artifact_that_does_not_fit_leaves_the_old_file(small_disk: Path, tmp_path: Path) -> None:
    graph = build(Store(tmp_path / "store"), key_of(), graph=b"x" * 500_000).outputs["graph"]
    run = small_disk / "run"
    run.mkdir()
    (run / "graph").write_bytes(b"older")
    fill(small_disk, 100_000)
    with pytest.raises(StoreError, match="disk is full") as caught:
        Store(tmp_path / "store").checkout(graph, run)
    assert caught.value.hint == "Next: free some space on that disk, or work in a directory on a larger one"
    assert [path.name for path in run.iterdir()] == ["graph"]
    assert (run / "graph").read_bytes() == b"older"


def test_a_read_only_file_system_serves_hits(small_disk: Path) -> None:
    store = Store(small_disk / "store")
    entry = build(store, key_of(), graph=b"1")
    make_read_only(small_disk)
    warnings: list[str] = []
    reader = Store(store.path, warn=warnings.append)
    assert reader.find(entry.key) == entry
    reader.source("weights", Path(__file__))
    reader.flush()
    with pytest.raises(StoreError, match="read-only") as caught:
        build(reader, key_of(a="2"), graph=b"2")
    assert str(store.path) in str(caught.value)
    assert warnings == []


def test_a_limit_on_the_size_of_files_is_explained(tmp_path: Path) -> None:
    """The limit is that of `ulimit -f`; unlike a small disk it needs no privilege."""
    store = Store(tmp_path / "store")
    outside = tmp_path / "large"
    outside.write_bytes(b"x" * 100_000)

    def limited() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        from cosybuild.store.result import StageResult

        with pytest.raises(StoreError) as caught:
            store.publish(key_of(), StageResult({"graph": [outside]}), {})
        return str(caught.value)

    assert "larger than this process may write" in in_child(limited)
    assert store.find(key_of()) is None
    assert list(store.layout.tmp.iterdir()) == []
    assert build(store, key_of(), graph=b"1").size == 1


def test_an_unknown_error_is_reported_in_the_words_of_the_system() -> None:
    for unknown, words in ((OSError(errno.ENODEV, "No such device"), "No such device"), (OSError("odd"), "odd")):
        error = store_error(unknown, "write", "/store")
        assert error.message == f"Cannot write /store: {words}. No incomplete file was left."
        assert error.hint == "Next: run again once it is repaired"


def test_the_content_is_synced_before_the_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another order a power cut could leave an empty file."""
    target, synced = tmp_path / "below" / "target", []
    sync = os.fsync

    def note(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        synced.append((path.parent.name, path.suffix or path.name, target.exists()))
        assert path.is_dir() or path.read_bytes() == b"new"
        sync(handle)

    monkeypatch.setattr(os, "fsync", note)
    write_atomic(target, b"new", tmp_path / "scratch" / "tmp")
    new_directory = (tmp_path.parent.name, tmp_path.name, False)
    assert synced == [new_directory, ("tmp", ".part", False), (tmp_path.name, "below", True)]
    assert target.read_bytes() == b"new"
    write_atomic(tmp_path / "other", b"2", tmp_path / "scratch" / "tmp", durable=False)
    assert len(synced) == 3
    sync_directory(tmp_path / "absent")
    is_open = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only how many
    sync_directory(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == is_open  # noqa: PTH208 - as above


def test_reading_the_clock_of_a_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time()
    assert before - 2 <= clock_of(tmp_path) <= time.time() + 2
    assert list(tmp_path.iterdir()) == []

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "no", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    assert clock_of(tmp_path) >= before - 2


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    (tmp_path / "target" / "sub").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "target", b"new", tmp_path / "tmp")
    assert list((tmp_path / "tmp").iterdir()) == []


def work_until_killed(path: Path) -> None:
    """Build entries again and again while gc runs: new ones, equal ones, and ones with shared contents."""
    number = 0
    while True:
        number += 1
        store = Store(path)
        key = key_of(number=str(number % 7))
        with store.building(key), store.workdir("export") as work:
            content = {"graph": b"%d" % (number % 3) * 50_000, "data": b"%d" % (number % 7) * 20_000}
            entry = publish(store, key, work, content)
        store.checkout(entry.outputs["graph"], path.parent / "run")
        store.source("weights", path.parent / "weights")
        store.flush()


def test_a_process_killed_at_any_moment_leaves_no_damage(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (tmp_path / "weights").write_bytes(b"weights")
    seed = random.Random(3)
    for _ in range(60):
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                work_until_killed(store.path)
            os._exit(1)
        time.sleep(seed.uniform(0.002, 0.12))
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        warnings: list[str] = []
        assert check(Store(store.path, warn=warnings.append), repair=False).faults == ()
        for file in (tmp_path / "run").glob("[!.]*"):
            assert len(file.read_bytes()) in (50_000, 20_000)
        assert warnings == []
    after = Store(store.path, wait_seconds=0)
    for number in range(7):
        build(after, key_of(number=str(number)), graph=b"after")
    # A process that was killed before its record was complete, or during its clean-up, is known only by age.
    for path in after.layout.tmp.rglob("*"):
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    after.workdirs.sweep(always=True)
    assert list(after.layout.tmp.iterdir()) == []
    assert list(after.layout.locks.iterdir()) == []


def test_text_with_any_bytes_of_paths_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "before")
    write_text(tmp_path / "a", "caf\udce9 店")
    assert (tmp_path / "a").read_bytes() == "caf\\udce9 店".encode()
    (tmp_path / "directory").mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "directory", "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "directory"]


def test_a_body_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fail() -> None:
        with replacing(target, durable=False) as file:
            file.write(b"half")
            assert target.read_bytes() == b"old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
