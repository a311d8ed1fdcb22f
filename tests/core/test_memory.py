"""The peak of a step: seen although it is over, and free of what was there before."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cosybuild.core import memory
from cosybuild.core.memory import PeakMemory

MIB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="measured through /proc")


def touch(size: int) -> bytearray:
    return bytearray(b"x") * size


@linux
@pytest.mark.parametrize("resettable", [True, False])
def test_a_peak_that_is_over_is_seen_and_earlier_ones_are_not(
    monkeypatch: pytest.MonkeyPatch, resettable: bool
) -> None:
    if not resettable:
        monkeypatch.setattr(memory, "_CLEAR", Path("/proc/self/no such file"))
    touch(400 * MIB)
    kept = touch(64 * MIB)
    with PeakMemory() as peak:
        block = touch(128 * MIB)
        if not resettable:
            assert peak.so_far() is not None  # looked at while it lasts, as the thread would
        del block
    del kept
    assert peak.peak_bytes is not None
    assert 100 * MIB < peak.peak_bytes < 200 * MIB


@linux
def test_nothing_taken_is_next_to_nothing() -> None:
    with PeakMemory() as peak:
        pass
    assert peak.peak_bytes is not None
    assert peak.peak_bytes < 8 * MIB


def test_without_proc_the_growth_of_the_peak_counts() -> None:
    """In a process of its own, above the peak that it has from its parent: only what exceeds it shows."""
    pytest.importorskip("resource")
    code = """
from pathlib import Path
from cosybuild.core import memory
memory._STATUS = Path("/no such file")
with memory.PeakMemory() as peak:
    bytearray(b"x") * (memory._all_time_peak() + (128 << 20))
print(peak.peak_bytes)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 100 * MIB < int(answer.stdout) < 200 * MIB


def test_the_peak_is_known_after_an_error() -> None:
    with pytest.raises(MemoryError), PeakMemory() as peak:
        raise MemoryError
    assert peak.peak_bytes is not None


@linux
def test_what_is_seen_while_the_thread_looks_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread reads a small figure; before it writes it down, this one sees a large one."""
    here, inside, seen = threading.current_thread(), threading.Event(), threading.Event()
    figures = [MIB]

    def resident() -> int:
        if threading.current_thread() is here:
            return figures[-1]
        inside.set()
        seen.wait(0.3)  # no longer: what keeps this look and that one apart also keeps that one waiting
        return MIB

    monkeypatch.setattr(memory, "_CLEAR", Path("/proc/self/no such file"))
    monkeypatch.setattr(memory, "_resident", resident)
    with PeakMemory() as peak:
        inside.wait()
        figures.append(512 * MIB)
        assert peak.so_far() == 511 * MIB
        seen.set()
        inside.clear()
        inside.wait()  # the thread has written its figure down, and looks again
        figures.append(MIB)
    assert peak.peak_bytes == 511 * MIB
