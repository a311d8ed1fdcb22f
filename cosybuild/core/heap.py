"""Freed memory goes back to the system: the C library would keep it, and every later step would lie on top of it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache


def trim_heap() -> None:
    """Return what was freed and is still held; nothing happens where the C library has no such call.

    glibc keeps freed blocks that lie below one in use: some 400 MB behind an export, and as much
    inside a builder of engines. Any thread may call this while others allocate.
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
