"""The modes of files, for tests that root runs too."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION_3 = 0x20080522
_IGNORE_MODES = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (linux/capability.h)."""


@contextmanager
def bound_by_modes() -> Iterator[None]:
    """Remove root's right to ignore the modes of files, in this thread and within the block.

    For other users nothing changes.

    Raises:
        OSError: the kernel refuses.
    """
    before = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable; twice 32 bits
    _call("capget", before)
    bound = (ctypes.c_uint32 * 6)(before[0] & ~_IGNORE_MODES, *before[1:])
    _call("capset", bound)
    try:
        yield
    finally:
        _call("capset", before)


def _call(name: str, sets: ctypes.Array[ctypes.c_uint32]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)((ctypes.c_uint32 * 2)(_VERSION_3, 0), sets) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
