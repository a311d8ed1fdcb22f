"""An object in a subprocess: its answers, its errors, a crash, a limit of time, Ctrl-C and its end with the caller."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cosybuild.building.remote_object import RemoteObject, TookTooLong
from cosybuild.building.subprocess import Died
from cosybuild.errors import EngineError
from tests.building.test_subprocess import SOON, is_alive, wait_until
from tests.importing import importing


class Counter:
    def __init__(self, number: int, delay: float = 0) -> None:
        time.sleep(delay)
        self._number = number

    def add(self, number: int) -> int:
        self._number += number
        return self._number

    def pid(self) -> int:
        return os.getpid()

    def refuse(self) -> None:
        raise EngineError("the counter refuses", hint="Next: another number")

    def crash(self) -> None:
        ctypes.string_at(0)

    def linger(self, note: Path) -> None:
        note.write_text(str(os.getpid()), encoding="ascii")
        time.sleep(10 * SOON)


def test_an_object_keeps_its_state_between_calls_in_another_process() -> None:
    counter = RemoteObject(Counter, 1)
    assert [counter.call("add", 2), counter.call("add", 3)] == [3, 6]
    assert counter.call("pid") != os.getpid()


def test_an_object_can_be_called_after_an_error() -> None:
    counter = RemoteObject(Counter, 1)
    with pytest.raises(EngineError) as caught:
        counter.call("refuse")
    assert caught.value.hint == "Next: another number"
    assert counter.call("add", 1) == 2


def test_an_error_of_the_constructor_ends_the_subprocess() -> None:
    with pytest.raises(RuntimeError, match="TypeError"):
        RemoteObject(Counter, 1, "no delay")


def test_each_call_after_a_crash_reports_the_crash() -> None:
    counter = RemoteObject(Counter, 1)
    for method in ("crash", "pid"):
        with pytest.raises(Died, match="its process was ended by SIGSEGV"):
            counter.call(method)


def test_an_object_that_is_not_made_in_time_is_given_up() -> None:
    began = time.monotonic()
    with pytest.raises(TookTooLong, match="it did not end within 2 s"):
        RemoteObject(Counter, 1, 10 * SOON, seconds=2)
    assert time.monotonic() - began < SOON
    assert RemoteObject(Counter, 1, seconds=SOON).call("add", 1) == 2


@pytest.mark.parametrize("way", ["close", "collect"])
def test_the_subprocess_ends_with_the_object(way: str) -> None:
    counter = RemoteObject(Counter, 1)
    pid = counter.call("pid")
    if way == "close":
        counter.close()
    else:
        del counter
        gc.collect()
    assert not is_alive(pid)


def test_ctrl_c_during_a_call_ends_the_subprocess(tmp_path: Path) -> None:
    counter = RemoteObject(Counter, 1)
    pid = counter.call("pid")
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        counter.call("linger", tmp_path / "pid")
    assert not is_alive(pid)
    with pytest.raises(Died):
        counter.call("pid")


def test_the_subprocess_ends_with_a_killed_caller(tmp_path: Path) -> None:
    note, script = tmp_path / "pid", tmp_path / "caller.py"
    script.write_text(
        "from pathlib import Path\n"
        "from cosybuild.building.remote_object import RemoteObject\n"
        "from tests.building.test_remote_object import Counter\n"
        f"RemoteObject(Counter, 1).call('linger', Path({str(note)!r}))\n",
        encoding="utf-8",
    )
    environment = {**os.environ, **importing(Path(__file__).resolve().parents[2])}
    caller = subprocess.Popen([sys.executable, str(script)], env=environment)
    try:
        wait_until(lambda: note.is_file() and note.read_text(encoding="ascii"))
    finally:
        caller.kill()
        caller.wait()
    other = int(note.read_text(encoding="ascii"))
    wait_until(lambda: not is_alive(other))
