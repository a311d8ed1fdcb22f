"""The identity of a process, how another process sees that it has ended, and the heartbeat."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cosybuild.system import owner as module
from cosybuild.system.owner import Heartbeat, Owner, Watch, read_owner
from tests.store.storing import in_child

STAT = " ".join(["7 (a) b)", "S", *map(str, range(4, 53))])
"""/proc/7/stat of a process with the name `a) b`; the value of each field is the field's number."""


def hearts() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "store-heart"}


def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        time.sleep(0.005)


def beats(record: Path) -> bool:
    """Wait until the record is touched, and return True."""
    os.utime(record, (0, 0))
    until(lambda: record.stat().st_mtime != 0)
    return True


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.touch()
    return paths


@pytest.fixture
def heart(records: list[Path]) -> Iterator[Heartbeat]:
    heart = Heartbeat()
    yield heart
    for path in records:
        heart.remove(path)


def test_one_heartbeat_serves_all_records_until_the_last_is_removed(heart: Heartbeat, records: list[Path]) -> None:
    before = hearts()
    for path in records:
        heart.add(path)
    (thread,) = hearts() - before
    assert thread.daemon  # otherwise an interrupted process would never end
    assert all(beats(path) for path in records)
    heart.remove(records[0])
    assert all(beats(path) for path in records[1:])
    assert thread.is_alive()
    heart.remove(records[1])
    heart.remove(records[2])
    thread.join()
    assert hearts() == before
    heart.add(records[0])
    assert beats(records[0])


def test_a_lost_record_does_not_stop_the_heartbeat_of_others(heart: Heartbeat, records: list[Path]) -> None:
    for path in records:
        heart.add(path)
    for path in records[:-1]:
        path.unlink()
        assert beats(records[-1])


def test_a_forked_process_touches_only_its_own_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parents, childs = tmp_path / "parent", tmp_path / "child"
    for path in (parents, childs):
        path.touch()
    heart = Heartbeat()
    heart.add(parents)

    def child() -> float:
        monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
        os.utime(parents, (0, 0))
        heart.add(childs)
        assert beats(childs)
        assert beats(childs)
        return parents.stat().st_mtime

    assert in_child(child) == 0
    heart.remove(parents)


def test_a_record_identifies_one_process() -> None:
    owner = Owner.of_this_process()
    assert (owner.host, owner.pid) == (platform.node(), os.getpid())
    assert owner.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert owner.namespace == str(Path("/proc/self/ns/pid").stat().st_ino)
    assert owner.start == Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    assert len(owner.nonce) == 16
    assert json.loads(owner.encode()) == asdict(owner)
    assert owner.token == hashlib.sha256(owner.encode()).hexdigest()[:32]


@pytest.mark.parametrize(
    ("changed", "alive"),
    [
        ({}, True),
        ({"start": "1"}, False),
        ({"pid": 2**22 + 1}, False),
        *(({name: other}, None) for name, other in {"boot": "x", "namespace": "1", "host": "x", "start": ""}.items()),
    ],
)
def test_only_a_process_of_this_system_can_be_checked(changed: dict[str, str], alive: bool | None) -> None:
    owner: Owner = replace(Owner.of_this_process(), **changed)  # type: ignore[arg-type]  # parametrised
    assert owner.is_alive() is alive


@pytest.mark.parametrize(
    ("stat", "start"),
    [
        (STAT, "22"),
        (STAT.replace(" S ", " Z "), None),
        (STAT.replace(" S ", " X "), None),
        (STAT.partition(" 23")[0], "22"),
        (STAT.partition(" 22")[0], None),
        ("", None),
    ],
)
def test_the_start_of_a_process_is_read_with_any_name(
    monkeypatch: pytest.MonkeyPatch, stat: str, start: str | None
) -> None:
    monkeypatch.setattr(module, "_read", {"/proc/7/stat": stat}.__getitem__)
    assert module._start_of(7) == start


def test_a_system_without_these_facts_gives_a_record_that_cannot_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **options: bool) -> None:
        raise FileNotFoundError(path)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_read", lambda path: "")
        patch.setattr(Path, "stat", refuse)
        owner = Owner.of_this_process()
        assert (owner.boot, owner.namespace, owner.start) == ("", "", "")
        assert owner.is_alive() is None
    (tmp_path / "odd").write_bytes(b" odd \xff\n")
    assert module._read(str(tmp_path / "odd")) == "odd \ufffd"
    assert module._read(str(tmp_path / "absent")) == ""


def test_a_record_is_read_with_its_time(tmp_path: Path) -> None:
    owner = Owner.of_this_process()
    record = tmp_path / owner.token
    record.write_bytes(owner.encode())
    os.utime(record, (5, 7))
    assert read_owner(record) == (owner, 7.0)
    record.write_bytes(owner.encode() + b" ")
    os.utime(record, (5, 7))
    assert read_owner(record) == (None, 7.0)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_holder_that_cannot_be_checked_is_dead_if_its_record_is_old_and_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    """The age is measured by the file system's clock, the time without a change by ours."""
    owner = replace(Owner.of_this_process(), host="elsewhere")
    record = tmp_path / "locks" / "key" / owner.token
    record.parent.mkdir(parents=True)
    record.write_bytes(b"{}" if damaged else owner.encode())
    os.utime(record, (1000, 1000))
    name = "a process whose record is damaged" if damaged else f"process {os.getpid()} on elsewhere"
    now = {"ours": 0.0, "theirs": 0.0}
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now["ours"]))
    monkeypatch.setattr(module, "clock_of", lambda directory: now["theirs"] if directory.name == "locks" else None)
    watch = Watch(record)
    for ours, theirs, dead in (
        (50.0, 9999.0, False),
        (79.0, 9999.0, False),
        (80.0, 1120.0, False),
        (80.0, 1121.0, True),
    ):
        now.update(ours=ours, theirs=theirs)
        assert watch.verdict() == (dead, name)
    os.utime(record, (1001, 1001))  # its heartbeat continues
    for ours, dead in ((90.0, False), (119.0, False), (120.0, True)):
        now.update(ours=ours, theirs=9999.0)
        assert watch.verdict() == (dead, name)


def test_a_holder_that_can_be_checked_is_not_judged_by_age(tmp_path: Path) -> None:
    for owner, dead in ((Owner.of_this_process(), False), (replace(Owner.of_this_process(), start="1"), True)):
        record = tmp_path / owner.token
        record.write_bytes(owner.encode())
        os.utime(record, (0, 0))
        assert Watch(record).verdict() == (dead, f"process {os.getpid()} on {platform.node()}")
