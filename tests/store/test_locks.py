"""Real processes hold and lose the lock."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cosybuild.errors import StoreError
from cosybuild.store.locks import Lock
from cosybuild.system import owner as module
from cosybuild.system.owner import Heartbeat, Owner, read_owner

HOLD = """
import sys
from pathlib import Path
from cosybuild.system.owner import Heartbeat
from cosybuild.store.locks import Lock
root = Path(sys.argv[1])
lock = Lock(root / "locks" / "key", root / "tmp", Heartbeat())
lock.acquire("'export'", 60, lambda owner: None)
print("held", flush=True)
sys.stdin.readline()
lock.release()
"""

COUNT = """
import sys
from pathlib import Path
from cosybuild.system.owner import Heartbeat
from cosybuild.store.locks import Lock
root = Path(sys.argv[1])
counter = root / "counter"
for _ in range(int(sys.argv[2])):
    lock = Lock(root / "locks" / "key", root / "tmp", Heartbeat())
    lock.acquire("'export'", 120, lambda owner: None)
    assert not (root / "inside").exists()
    (root / "inside").touch()
    counter.write_text(str(int(counter.read_text()) + 1))
    (root / "inside").unlink()
    lock.release()
"""


def new_lock(root: Path) -> Lock:
    return Lock(root / "locks" / "key", root / "tmp", Heartbeat())


def hold(root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def plant(root: Path, owner: Owner | None, *, age: float = 0.0, content: bytes | None = None) -> Path:
    """Write a lock as if another process had left it."""
    record = root / "locks" / "key" / (owner.token if owner is not None else "0" * 32)
    record.parent.mkdir(parents=True)
    record.write_bytes(content if content is not None else owner.encode() if owner is not None else b"")
    os.utime(record, (time.time() - age, time.time() - age))
    return record


def never(owner: str) -> None:
    raise AssertionError(f"waited for {owner}")


def take(root: Path, wait_seconds: float = 0, on_wait: Callable[[str], None] = never) -> Lock:
    """Take the lock and return it."""
    lock = new_lock(root)
    lock.acquire("'export'", wait_seconds, on_wait)
    assert not lock.is_lost
    return lock


def test_a_released_lock_leaves_no_file(tmp_path: Path) -> None:
    lock = new_lock(tmp_path)
    lock.acquire("'export'", 0, never)
    assert not lock.is_lost
    assert len(list((tmp_path / "locks" / "key").iterdir())) == 1
    lock.release()
    assert lock.is_lost
    assert list((tmp_path / "locks").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_live_holder_is_waited_for_and_named_in_the_timeout(tmp_path: Path) -> None:
    process = hold(tmp_path)
    waited: list[str] = []
    with pytest.raises(StoreError) as caught:
        new_lock(tmp_path).acquire("'export'", 0.3, waited.append)
    name = f"process {process.pid} on {platform.node()}"
    assert waited == [name]
    assert name in str(caught.value)
    assert "'export'" in str(caught.value)
    hint = f"Next: check that process, or raise store.wait_seconds (the lock is {tmp_path / 'locks' / 'key'})"
    assert caught.value.hint == hint
    assert list((tmp_path / "tmp").iterdir()) == []
    process.communicate("\n", timeout=60)
    take(tmp_path)


def test_a_killed_holder_does_not_block(tmp_path: Path) -> None:
    process = hold(tmp_path)
    process.kill()
    process.wait()
    take(tmp_path)


def test_a_zombie_holder_does_not_block(tmp_path: Path) -> None:
    process = hold(tmp_path)
    process.kill()
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    take(tmp_path)
    process.wait()


def test_a_stopped_holder_counts_as_alive(tmp_path: Path) -> None:
    process = hold(tmp_path)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(StoreError, match="is still running"):
        new_lock(tmp_path).acquire("'export'", 0.2, lambda owner: None)
    process.send_signal(signal.SIGCONT)
    process.communicate("\n", timeout=60)


def test_a_reused_pid_does_not_block(tmp_path: Path) -> None:
    """The record names the pid of a running process that began at another time."""
    plant(tmp_path, replace(Owner.of_this_process(), start="1"))
    take(tmp_path)


@pytest.mark.parametrize("changed", [{"boot": "another"}, {"namespace": "1"}, {"host": "elsewhere"}, {"start": ""}])
def test_a_holder_that_cannot_be_checked_is_judged_by_its_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str]
) -> None:
    """The cases: after a reboot, in another container, on another host, on a system without start times."""
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.2)
    record = plant(tmp_path, replace(Owner.of_this_process(), **changed), age=module.STALE_SECONDS - 60)
    with pytest.raises(StoreError, match="is still running"):
        new_lock(tmp_path).acquire("'export'", 0.6, lambda owner: None)
    os.utime(record, (time.time() - 200, time.time() - 200))
    take(tmp_path, 5, lambda owner: None)


def test_a_holder_on_another_host_with_a_heartbeat_is_alive_for_any_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.3)
    record = plant(tmp_path, replace(Owner.of_this_process(), host="elsewhere"))
    stop = threading.Event()

    def beat() -> None:
        past = time.time() - 5000  # its clock is a long time behind
        while not stop.wait(0.05):
            past += 1
            os.utime(record, (past, past))

    thread = threading.Thread(target=beat)
    thread.start()
    with pytest.raises(StoreError, match="elsewhere"):
        new_lock(tmp_path).acquire("'export'", 1, lambda owner: None)
    stop.set()
    thread.join()


def test_the_heartbeat_touches_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    lock = new_lock(tmp_path)
    lock.acquire("'export'", 0, never)
    record = next((tmp_path / "locks" / "key").iterdir())
    os.utime(record, (0, 0))
    while record.stat().st_mtime == 0:
        time.sleep(0.01)
    lock.release()


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b"\xff" * 100, b"[" * 100_000])
def test_a_damaged_record_blocks_for_a_while_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.1)
    plant(tmp_path, None, age=1000, content=content)
    waited: list[str] = []
    take(tmp_path, 5, waited.append)
    assert waited == ["a process whose record is damaged"]


def test_every_flipped_byte_of_a_record_is_detected(tmp_path: Path) -> None:
    owner = Owner.of_this_process()
    data = owner.encode()
    record = plant(tmp_path, owner)
    assert read_owner(record)[0] == owner
    for offset in range(len(data)):
        record.write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
        assert read_owner(record)[0] is None


def test_a_file_where_the_lock_should_be_does_not_block(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "key").write_bytes(b"?")
    take(tmp_path)


def test_an_empty_lock_is_free(tmp_path: Path) -> None:
    (tmp_path / "locks" / "key").mkdir(parents=True)
    take(tmp_path)


def test_a_holder_that_was_taken_for_dead_knows_it_and_does_not_release_the_next_lock(tmp_path: Path) -> None:
    first, second = new_lock(tmp_path), new_lock(tmp_path)
    first.acquire("'export'", 0, never)
    next((tmp_path / "locks" / "key").iterdir()).unlink()
    second.acquire("'export'", 0, never)
    assert first.is_lost
    first.release()
    assert not second.is_lost
    second.release()


def test_two_threads_exclude_each_other(tmp_path: Path) -> None:
    first = new_lock(tmp_path)
    first.acquire("'export'", 0, never)
    threading.Timer(0.2, first.release).start()
    second = new_lock(tmp_path)
    waited: list[str] = []
    second.acquire("'export'", 60, waited.append)
    assert len(waited) == 1


def test_processes_exclude_each_other_while_others_are_killed(tmp_path: Path) -> None:
    """Four processes read and write a counter under the lock, and no increment is lost."""
    (tmp_path / "counter").write_text("0")
    victims = []
    for _ in range(3):
        victim = hold(tmp_path)
        victim.kill()
        victims.append(victim)
    workers = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path), "25"]) for _ in range(4)]
    for process in [*workers, *victims]:
        process.wait(timeout=300)
    assert [worker.returncode for worker in workers] == [0] * 4
    assert (tmp_path / "counter").read_text() == "100"
    assert list((tmp_path / "locks").iterdir()) == []


def test_processes_that_break_one_dead_lock_enter_one_at_a_time(tmp_path: Path) -> None:
    for _ in range(30):
        plant(tmp_path, replace(Owner.of_this_process(), start="1"))
        barrier = threading.Barrier(4)
        inside: list[int] = []
        most: list[int] = []

        def enter(barrier: threading.Barrier = barrier, inside: list[int] = inside, most: list[int] = most) -> None:
            lock = new_lock(tmp_path)
            barrier.wait()
            lock.acquire("'export'", 60, lambda owner: None)
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.001)
            inside.pop()
            lock.release()

        threads = [threading.Thread(target=enter) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [1] * 4


def test_a_record_holds_what_identifies_a_process() -> None:
    owner = Owner.of_this_process()
    assert owner.is_alive() is True
    assert owner != Owner.of_this_process()
    assert json.loads(owner.encode()) == asdict(owner)
    assert str(owner) == f"process {os.getpid()} on {platform.node()}"
