"""The peak of a step is seen after it is over, and excludes earlier memory."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cosybuild.system import memory
from cosybuild.system.memory import PeakMemory

MIB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="measured through /proc")


def touch(size: int) -> bytearray:
    return bytearray(b"x") * size


@linux
@pytest.mark.parametrize("resettable", [True, False])
def test_a_past_peak_within_the_block_is_measured_and_earlier_ones_are_not(
    monkeypatch: pytest.MonkeyPatch, resettable: bool
) -> None:
    if not resettable:
        monkeypatch.setattr(memory, "_CLEAR", Path("/proc/self/no such file"))
    touch(400 * MIB)
    kept = touch(64 * MIB)
    with PeakMemory() as peak:
        block = touch(128 * MIB)
        if not resettable:
            assert peak.so_far() is not None  # read during the peak, as by the thread
        del block
    del kept
    assert peak.peak_bytes is not None
    assert 100 * MIB < peak.peak_bytes < 200 * MIB


@linux
def test_a_block_without_allocations_has_a_peak_near_zero() -> None:
    with PeakMemory() as peak:
        pass
    assert peak.peak_bytes is not None
    assert peak.peak_bytes < 8 * MIB


def test_without_proc_the_growth_of_the_peak_counts() -> None:
    """A new process starts with its parent's peak: only a larger peak is seen."""
    pytest.importorskip("resource")
    code = """
from pathlib import Path
from cosybuild.system import memory
memory._STATUS = Path("/no such file")
with memory.PeakMemory() as peak:
    bytearray(b"x") * (memory._all_time_peak() + (128 << 20))
print(peak.peak_bytes)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 100 * MIB < int(answer.stdout) < 200 * MIB


def status(monkeypatch: pytest.MonkeyPatch, path: Path, **kib: int) -> None:
    """Replace /proc/self/status by a file with these fields."""
    fields = "".join(f"{name}:\t{n:8} kB\n" for name, n in kib.items())
    # A process may have any name.
    path.write_bytes(b"Name:\tVmRSS \xff\nVmRSSx:\t1 kB\n" + fields.encode())
    monkeypatch.setattr(memory, "_STATUS", path)


def test_the_peak_is_that_of_the_kernel_minus_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "clear_refs")
    status(monkeypatch, tmp_path / "status", VmHWM=900, VmRSS=100)
    with PeakMemory() as peak:
        assert (tmp_path / "clear_refs").read_text() == "5", "what resets the peak"
        assert peak.so_far() == 800 * 1024
        status(monkeypatch, tmp_path / "status", VmHWM=90, VmRSS=80)
        assert peak.so_far() == 0
        status(monkeypatch, tmp_path / "status", VmHWM=300, VmRSS=80)
    assert peak.peak_bytes == 200 * 1024


def test_a_status_without_the_field_gives_no_peak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "clear_refs")
    status(monkeypatch, tmp_path / "status", VmHWM=900, VmRSS=100)
    with PeakMemory() as peak:
        status(monkeypatch, tmp_path / "status", VmRSS=100)
    assert peak.peak_bytes is None


@pytest.mark.parametrize("kernel", ["keeps no peak", "lets nobody reset it"])
def test_without_a_peak_of_the_kernel_a_thread_samples(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernel: str
) -> None:
    fields = {"VmRSS": 1} if kernel == "keeps no peak" else {"VmRSS": 1, "VmHWM": 1}
    status(monkeypatch, tmp_path / "status", **fields)
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / ("clear_refs" if kernel == "keeps no peak" else "absent/file"))
    main, looks, again = threading.current_thread(), [0], threading.Event()

    def resident() -> int:
        """Return 100 bytes at first, and 400 when the thread reads for the first time."""
        if threading.current_thread() is main:
            return 100
        looks[0] += 1
        if looks[0] > 1:
            again.set()
        return 400 if looks[0] == 1 else 50

    monkeypatch.setattr(memory, "_resident", resident)
    with PeakMemory() as peak:
        assert again.wait(20)
        assert [thread.daemon for thread in threading.enumerate() if thread.name == "peak memory"] == [True]
    assert peak.peak_bytes == 300
    assert not [thread for thread in threading.enumerate() if thread.name == "peak memory"]


@pytest.mark.parametrize(
    ("peaks", "expected"),
    [([100, 350], 250), ([350, 350], 0), ([350, 100], 0), ([None, 100], None), ([100, None], None)],
)
def test_on_other_systems_the_growth_of_the_all_time_peak_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, peaks: list[int | None], expected: int | None
) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "absent")
    told = iter(peaks)
    monkeypatch.setattr(memory, "_all_time_peak", lambda: next(told))
    with PeakMemory() as peak:
        pass
    assert peak.peak_bytes == expected


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_the_all_time_peak_is_in_kib_except_on_macos(monkeypatch: pytest.MonkeyPatch, platform: str, unit: int) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(sys, "platform", platform)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    now = memory._all_time_peak()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert now is not None
    assert before * unit <= now <= after * unit


def test_the_peak_is_known_after_an_error() -> None:
    with pytest.raises(MemoryError), PeakMemory() as peak:
        raise MemoryError
    assert peak.peak_bytes is not None


@linux
def test_a_larger_sample_is_not_overwritten_by_a_smaller_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread reads a small value; before it stores that, this test reads a large one."""
    here, inside, seen = threading.current_thread(), threading.Event(), threading.Event()
    figures = [MIB]

    def resident() -> int:
        if threading.current_thread() is here:
            return figures[-1]
        inside.set()
        seen.wait(0.3)  # not longer: the lock between both reads also makes the thread wait
        return MIB

    monkeypatch.setattr(memory, "_CLEAR", Path("/proc/self/no such file"))
    monkeypatch.setattr(memory, "_resident", resident)
    with PeakMemory() as peak:
        inside.wait()
        figures.append(512 * MIB)
        assert peak.so_far() == 511 * MIB
        seen.set()
        inside.clear()
        inside.wait()  # the thread has stored its value and reads again
        figures.append(MIB)
    assert peak.peak_bytes == 511 * MIB
