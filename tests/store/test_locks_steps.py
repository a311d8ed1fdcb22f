"""The lock's operations one by one, with a clock that moves only while the lock waits."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cosybuild.errors import StoreError
from cosybuild.store import locks as module
from cosybuild.store.locks import Lock
from cosybuild.system.owner import Heartbeat, Owner, Watch
from tests.store.test_locks import never, new_lock, plant, take


class Waits:
    """Replaces the lock's clock: a wait ends at once, and its length is recorded."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.slept: list[float] = []
        self.then: dict[int, Callable[[], object]] = {}

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds
        self.then.get(len(self.slept), lambda: None)()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()
    monkeypatch.setattr(module, "time", waits)
    return waits


def test_waiting_polls_often_at_first_and_ends_at_the_limit(tmp_path: Path, waits: Waits) -> None:
    plant(tmp_path, Owner.of_this_process())
    with pytest.raises(StoreError, match=r"^Waited 20 s for process \d+ on .* building 'export'"):
        new_lock(tmp_path).acquire("'export'", 20.0, lambda owner: None)
    assert sum(waits.slept) == pytest.approx(20.0)
    assert waits.slept[:3] == pytest.approx([0.01, 0.015, 0.0225])
    assert max(waits.slept) == 0.5
    assert waits.slept[-2] == 0.5 >= waits.slept[-1] > 0


def test_waiting_ends_at_the_deadline(tmp_path: Path, waits: Waits) -> None:
    plant(tmp_path, Owner.of_this_process())
    with pytest.raises(StoreError, match="Waited 0 s"):
        new_lock(tmp_path).acquire("'export'", 0, lambda owner: None)
    assert waits.slept == []


def test_each_holder_is_reported_once(tmp_path: Path, waits: Waits) -> None:
    first, second = Owner.of_this_process(), replace(Owner.of_this_process(), host="elsewhere")
    record = plant(tmp_path, first)

    def next_one() -> None:
        record.unlink()
        record.with_name(second.token).write_bytes(second.encode())

    waits.then = {3: next_one, 6: record.with_name(second.token).unlink}
    named: list[str] = []
    lock = take(tmp_path, 3600, named.append)
    assert named == [str(first), str(second)]
    assert len(waits.slept) == 6
    lock.release()


def test_a_disk_error_names_the_lock(tmp_path: Path) -> None:
    (tmp_path / "locks").write_bytes(b"")
    with pytest.raises(
        StoreError, match=f"Cannot lock {re.escape(str(tmp_path / 'locks' / 'key'))}: a file stands where"
    ):
        take(tmp_path)
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("is_done", [True, False])
def test_a_rename_that_is_reported_as_failed_counts_if_it_succeeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    rename = Path.rename

    def report(path: Path, target: Path) -> None:
        if is_done:
            rename(path, target)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "rename", report)
    lock = new_lock(tmp_path)
    if is_done:
        lock.acquire("'export'", 0, never)
        assert not lock.is_lost
        lock.release()
    else:
        with pytest.raises(StoreError, match="input/output error"):
            lock.acquire("'export'", 0, never)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_lock_that_was_not_taken_can_be_released(tmp_path: Path) -> None:
    other, lock = new_lock(tmp_path), new_lock(tmp_path)
    lock.release()
    other.acquire("'export'", 0, never)
    lock.release()
    assert not other.is_lost
    other.release()
    other.release()
    assert other.is_lost


def test_the_heartbeat_has_the_record_until_the_release(tmp_path: Path) -> None:
    class Noting(Heartbeat):
        def add(self, record: Path) -> None:
            noted.append(("add", record))

        def remove(self, record: Path) -> None:
            noted.append(("remove", record))

    noted: list[tuple[str, Path]] = []
    lock = Lock(tmp_path / "locks" / "key", tmp_path / "tmp", Noting())
    lock.acquire("'export'", 0, never)
    (record,) = (tmp_path / "locks" / "key").iterdir()
    assert noted == [("add", record)]
    lock.release()
    assert noted == [("add", record), ("remove", record)]


def test_a_record_that_cannot_be_deleted_at_the_release_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **options: bool) -> None:
        raise PermissionError(errno.EACCES, "no", str(path))

    lock = new_lock(tmp_path)
    lock.acquire("'export'", 0, never)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        patch.setattr(Path, "rmdir", refuse)
        lock.release()
    assert lock.is_lost
    assert len(list((tmp_path / "locks" / "key").iterdir())) == 1


def test_a_record_that_is_removed_during_the_check_frees_the_lock(tmp_path: Path, waits: Waits) -> None:
    record = plant(tmp_path, Owner.of_this_process())

    class Going(dict[str, Watch]):
        """Replaces the waiter's memory, which is read directly before the record."""

        def __contains__(self, name: object) -> bool:
            record.unlink(missing_ok=True)
            return False

    assert new_lock(tmp_path)._look(Going(), never) is None
    assert waits.slept == []
    take(tmp_path)


def test_two_processes_that_break_one_dead_lock_both_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = plant(tmp_path, replace(Owner.of_this_process(), start="1"))
    verdict = Watch.verdict

    def judged(watch: Watch) -> tuple[bool, str]:
        found = verdict(watch)
        record.unlink(missing_ok=True)  # the other process is faster
        return found

    monkeypatch.setattr(Watch, "verdict", judged)
    take(tmp_path)


def test_a_file_system_that_renames_onto_no_directory_is_supported_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty lock is removed first, unless another process is taking it."""
    rename, rmdir = Path.rename, Path.rmdir
    refused: list[Path] = []

    def onto_nothing(path: Path, target: Path) -> None:
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        rename(path, target)

    def in_use_once(path: Path) -> None:
        if path.name == "key" and not refused:
            refused.append(path)
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        rmdir(path)

    (tmp_path / "locks" / "key").mkdir(parents=True)
    monkeypatch.setattr(Path, "rename", onto_nothing)
    monkeypatch.setattr(Path, "rmdir", in_use_once)
    take(tmp_path)
    assert len(refused) == 1


def test_a_file_in_the_way_that_another_process_removes_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename
    lock = tmp_path / "locks" / "key"
    lock.parent.mkdir()
    lock.write_bytes(b"?")

    def just_removed(path: Path, target: Path) -> None:
        if target.is_file():
            target.unlink()
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        rename(path, target)

    monkeypatch.setattr(Path, "rename", just_removed)
    take(tmp_path)
