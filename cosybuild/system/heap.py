"""Return freed heap to the system (`malloc_trim`), so that it does not count in the next step's peak."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache


def trim_heap() -> None:
    """Return freed memory that the C library still holds to the system; do nothing if it has no `malloc_trim`.

    glibc keeps freed blocks below a block in use: some 400 MB after an export, and as much in a builder
    of engines. Any thread may call this while others allocate.
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
