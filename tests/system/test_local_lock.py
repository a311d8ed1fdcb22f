"""The lock of one machine: one process holds it, it names its owner, and it ends with the owner."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosybuild.system.local_lock import locked

HOLD = """
import sys
from pathlib import Path
from cosybuild.system.local_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


@pytest.fixture
def owner(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start another process that holds the lock until its input ends."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_held_lock_is_refused_at_once(path: Path, owner: subprocess.Popen[str]) -> None:
    with pytest.raises(BlockingIOError), locked(path):
        pytest.fail("two processes hold the lock")


def test_a_waiting_process_learns_the_holder_and_gets_the_lock_after_it(
    path: Path, owner: subprocess.Popen[str]
) -> None:
    told: list[str] = []

    def end(name: str) -> None:
        told.append(name)
        assert owner.stdin is not None
        owner.stdin.close()

    with locked(path, end) as waited:
        assert waited
        assert path.read_text() == f"process {os.getpid()} on {os.uname().nodename}"
    assert told == [f"process {owner.pid} on {os.uname().nodename}"]


def test_the_lock_of_a_killed_process_is_free(path: Path, owner: subprocess.Popen[str]) -> None:
    with locked(path, lambda name: os.kill(owner.pid, signal.SIGKILL)) as waited:
        assert waited


def test_a_free_lock_is_not_waited_for_and_can_be_taken_again(path: Path) -> None:
    for _ in range(2):
        with locked(path, pytest.fail) as waited:
            assert not waited


def test_two_threads_exclude_each_other(path: Path) -> None:
    inside, most = 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with locked(path, lambda name: None):
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_an_error_only_if_the_lock_is_required(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(handle: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with locked(path, required=False) as waited:
        assert not waited
    with pytest.raises(OSError, match=os.strerror(number)), locked(path):
        pytest.fail("it goes on without the lock that it needs")


def test_another_error_is_never_taken_for_a_file_system_without_locks(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(handle: int, how: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(OSError, match="input/output error"), locked(path, required=False):
        pytest.fail("it goes on")
