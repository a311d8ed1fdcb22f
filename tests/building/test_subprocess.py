"""A call in a subprocess: its answer, its errors, a crash, Ctrl-C, and its end with the caller's."""

from __future__ import annotations

import copy
import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from cosybuild.building.stage import Emit
from cosybuild.building.subprocess import Died, call_in_subprocess
from cosybuild.errors import EngineError
from tests.importing import importing

SOON = 120.0
"""Seconds that are enough for every step on a slow machine; a test that passes does not wait so long."""


def double(number: int, emit: Emit) -> tuple[int, int]:
    emit("progress", what="doubling", done=0, total=1)
    emit("warning", message="it overflows beyond 2**63")
    return 2 * number, os.getpid()


def take(size: int, emit: Emit) -> int:
    return len(bytes(bytearray(b"x") * size))


def refuse(emit: Emit) -> None:
    raise EngineError("the builder refuses", hint="Next: another graph")


def fill_the_disk(path: Path, emit: Emit) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def stumble(emit: Emit) -> None:
    raise ZeroDivisionError("in the other process")


def crash(emit: Emit) -> None:
    emit("progress", what="reading address 0", done=0, total=1)
    ctypes.string_at(0)


def leave(code: int, emit: Emit) -> None:
    os._exit(code)


def end_by(number: int, emit: Emit) -> None:
    os.kill(os.getpid(), number)
    time.sleep(SOON)


def talk(emit: Emit) -> str:
    os.write(1, b"from C\n")
    return "done"


def double_apart(number: int) -> int:
    return call_in_subprocess(double, number).value[0]


def linger(note: Path, emit: Emit) -> None:
    note.write_text(str(os.getpid()), encoding="ascii")
    emit("progress", what="lingering", done=0, total=1)
    time.sleep(10 * SOON)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: Any) -> None:
    until = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_answer_comes_from_another_process_with_its_events() -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    answer = call_in_subprocess(double, 21, emit=lambda kind, **facts: told.append((kind, facts)))
    number, pid = answer.value
    assert number == 42
    assert pid != os.getpid()
    assert not is_alive(pid)
    assert told == [
        ("progress", {"what": "doubling", "done": 0, "total": 1}),
        ("warning", {"message": "it overflows beyond 2**63"}),
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system tells another figure")
def test_the_peak_memory_is_that_of_the_subprocess() -> None:
    here = bytearray(b"x") * (256 << 20)
    small, large = (call_in_subprocess(take, size).peak_bytes for size in (1, 128 << 20))
    assert small is not None
    assert large is not None
    assert small < len(here)
    assert large - small > 100 << 20


def test_an_error_for_users_keeps_its_message_and_hint() -> None:
    with pytest.raises(EngineError) as caught:
        call_in_subprocess(refuse)
    assert (caught.value.message, caught.value.hint) == ("the builder refuses", "Next: another graph")


def test_a_full_disk_is_still_recognised(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        call_in_subprocess(fill_the_disk, tmp_path / "engine")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "engine"))


def test_a_defect_has_the_traceback_of_the_subprocess() -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError: in the other process") as caught:
        call_in_subprocess(stumble)
    assert "in stumble" in str(caught.value.__cause__)


def test_a_crash_is_reported_with_its_signal_after_what_was_emitted() -> None:
    told: list[str] = []
    with pytest.raises(Died, match="its process was ended by SIGSEGV") as caught:
        call_in_subprocess(crash, emit=lambda kind, **facts: told.append(facts["what"]))
    assert caught.value.status == -signal.SIGSEGV
    assert told == ["reading address 0"]


@pytest.mark.parametrize("code", [0, 3])
def test_an_end_without_an_answer_is_reported_with_its_exit_code(code: int) -> None:
    with pytest.raises(Died, match=f"its process ended with exit code {code}"):
        call_in_subprocess(leave, code)


def test_a_signal_that_has_no_name_is_reported_by_its_number() -> None:
    nameless = signal.SIGRTMIN + 1
    with pytest.raises(Died, match=f"its process was ended by signal {nameless}"):
        call_in_subprocess(end_by, nameless)


def test_a_crash_can_be_reported_again_by_another_process() -> None:
    assert copy.copy(Died(-signal.SIGKILL)).status == -signal.SIGKILL  # as pickle does it


def test_ctrl_c_ends_the_subprocess_at_once(tmp_path: Path) -> None:
    def interrupt(kind: str, **facts: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    note = tmp_path / "pid"
    with pytest.raises(KeyboardInterrupt):
        call_in_subprocess(linger, note, emit=interrupt)
    assert not is_alive(int(note.read_text(encoding="ascii")))


def test_a_caller_that_can_receive_no_more_events_ends_the_subprocess(tmp_path: Path) -> None:
    """This happens if the output of a command goes into a closed pipe."""

    def closed(kind: str, **facts: Any) -> None:
        raise BrokenPipeError

    note = tmp_path / "pid"
    with pytest.raises(BrokenPipeError):
        call_in_subprocess(linger, note, emit=closed)
    assert not is_alive(int(note.read_text(encoding="ascii")))


def test_the_subprocess_ends_with_a_killed_caller(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"""
import sys
from pathlib import Path
from cosybuild.building.subprocess import call_in_subprocess
from tests.building.test_subprocess import linger
if __name__ == "__main__":
    call_in_subprocess(linger, Path({str(note)!r}))
"""
    script = tmp_path / "caller.py"
    script.write_text(code, encoding="utf-8")
    environment = {**os.environ, **importing(Path(__file__).resolve().parents[2])}
    caller = subprocess.Popen([sys.executable, str(script)], env=environment)
    try:
        wait_until(lambda: note.is_file() and note.read_text(encoding="ascii"))
    finally:
        caller.kill()
        caller.wait()
    other = int(note.read_text(encoding="ascii"))
    wait_until(lambda: not is_alive(other))


def test_ctrl_c_for_the_process_group_prints_nothing_from_the_subprocess(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = tmp_path / "caller.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from cosybuild.building.subprocess import call_in_subprocess\n"
        "from tests.building.test_subprocess import linger\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        f"        call_in_subprocess(linger, Path({str(note)!r}))\n"
        "    except KeyboardInterrupt:\n"
        "        sys.exit(130)\n",
        encoding="utf-8",
    )
    environment = {**os.environ, **importing(Path(__file__).resolve().parents[2])}
    caller = subprocess.Popen(
        [sys.executable, str(script)], env=environment, stderr=subprocess.PIPE, start_new_session=True
    )
    wait_until(lambda: note.is_file() and note.read_text(encoding="ascii"))
    os.killpg(caller.pid, signal.SIGINT)
    _, said = caller.communicate(timeout=SOON)
    assert (caller.returncode, said) == (130, b"")


def test_the_output_of_a_library_is_not_taken_for_the_answer(capfd: pytest.CaptureFixture[str]) -> None:
    assert call_in_subprocess(talk).value == "done"
    assert capfd.readouterr() == ("", "from C\n")


def test_a_call_works_inside_the_worker_of_a_pool(tmp_path: Path) -> None:
    """Pools mark their workers as daemons, and multiprocessing allows daemons no processes."""
    with get_context("spawn").Pool(1) as pool:
        assert pool.apply(double_apart, (4,)) == 8
