"""Settings of Python's cyclic garbage collector, and the return of freed memory to the operating system."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from functools import cache

_USUAL = gc.get_threshold()
_RARELY = 500_000
"""The number of new objects between two collections.

A plan makes fewer objects. In a long sweep, memory is collected each time it has grown by some hundred MB.
"""


def collect_rarely() -> None:
    """Run the garbage collector rarely. During planning, it would take a tenth of the time and free little."""
    gc.set_threshold(_RARELY)


def collect_by_default() -> None:
    """Restore Python's default garbage collection, because reference cycles of a step may keep tensors in memory."""
    gc.set_threshold(*_USUAL)


def trim_heap() -> None:
    """Return freed memory that the C library keeps to the operating system, if there is a `malloc_trim`.

    glibc keeps freed blocks below a block in use: about 400 MB after an export, and as much after an engine build. Any
    thread may call this while others allocate memory.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if function is None:
        return None
    function.argtypes = [ctypes.c_size_t]
    function.restype = ctypes.c_int
    found: Callable[[int], int] = function
    return found
