"""The measurement of a step's peak memory, and the detection of errors that report a lack of memory."""

from __future__ import annotations

import errno
import re
import threading
from pathlib import Path
from types import TracebackType

# Wording of C++ libraries for a lack of memory: torch, ONNX Runtime, onnxsim, CUDA, the loader of shared libraries.
_WORDS = re.compile(
    r"bad[_ ]alloc|out of memory|OutOfMemory|(?:can't|cannot|could not|unable to|failed to) allocate"
    r"|failed to map segment from shared object(?!: operation not permitted)",
    re.IGNORECASE,
)

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_INTERVAL = 0.02


def ran_out_of_memory(error: BaseException) -> bool:
    """Return True if an error, or an error in its chain of causes, reports that memory could not be allocated."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return any(
        isinstance(link, MemoryError)
        or (isinstance(link, OSError) and link.errno == errno.ENOMEM)
        or _WORDS.search(str(link)) is not None
        for link in chain
    )


def peak_resident() -> int | None:
    """Return the largest resident memory of this process since its start, in bytes; None if it is not known."""
    # Prefer VmHWM, because on Linux getrusage includes the size of the process that started this one.
    return _kernel_peak() or _all_time_peak()


class PeakMemory:
    """The peak growth of this process's resident memory during a `with` block, in bytes.

    On Linux the kernel records the exact peak (VmHWM) and resets it on request. If the reset is not permitted, a
    thread samples the resident memory. On other systems, the growth of the process's peak since its start is used,
    which is a lower bound. Memory of a subprocess (`building.subprocess`) counts only if `add` is called with it.
    Memory of a GPU does not count.

    >>> with PeakMemory() as memory:
    ...     block = bytearray(1 << 24)
    >>> memory.peak_bytes is None or memory.peak_bytes >= 0
    True
    """

    peak_bytes: int | None = None
    _apart = 0

    def add(self, size: int) -> None:
        """Add the peak memory, in bytes, of a subprocess that did a part of the work.

        Of several subprocesses, only the largest peak is added.
        """
        self._apart = max(self._apart, size)

    def __enter__(self) -> PeakMemory:
        self._sampler: _Sampler | None = None
        self._start = _resident()
        self._start_peak = _all_time_peak() if self._start is None else None
        if self._start is not None and not _reset_peak():
            self._sampler = _Sampler()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.peak_bytes = self.so_far()
        if self._sampler is not None:
            self._sampler.stop()

    def so_far(self) -> int | None:
        """Return the peak growth up to now, in bytes; None if it cannot be measured."""
        if self._start is not None:
            peak = _kernel_peak() if self._sampler is None else self._sampler.look()
            return None if peak is None else max(0, peak - self._start) + self._apart
        now = _all_time_peak()
        if now is None or self._start_peak is None:
            return None
        return max(0, now - self._start_peak) + self._apart


class _Sampler(threading.Thread):
    """A thread that samples the resident memory every `_INTERVAL` seconds, until `stop` is called."""

    def __init__(self) -> None:
        super().__init__(name="peak memory", daemon=True)
        self._done = threading.Event()
        self._seen = 0
        # Two threads call `look`: without a lock the smaller value could overwrite the larger one.
        self._lock = threading.Lock()
        self.start()

    def look(self) -> int:
        """Take a sample and return the peak up to now in bytes."""
        with self._lock:
            self._seen = max(self._seen, _resident() or 0)
            return self._seen

    def run(self) -> None:
        while not self._done.wait(_INTERVAL):
            self.look()

    def stop(self) -> None:
        self._done.set()
        self.join()


def _field(name: str) -> int | None:
    """Return a size from /proc/self/status, in bytes; None if there is no such file or field."""
    try:
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _resident() -> int | None:
    return _field("VmRSS")


def _kernel_peak() -> int | None:
    return _field("VmHWM")


def _reset_peak() -> bool:
    """Reset the peak that the kernel records; return True if that succeeded."""
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return False
    return _kernel_peak() is not None


def _all_time_peak() -> int | None:
    """Return the process's largest resident memory since its start, in bytes; None on systems without getrusage."""
    try:
        import resource
        import sys
    except ImportError:
        return None
    # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
