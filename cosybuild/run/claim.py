"""One process at a time in a run directory: two that were asked for the same must not record over each other."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cosybuild.core.plain import TEMPORARY

CLAIM = ".claim"
"""An empty-handed file: what counts is who has locked it."""

# What a file system answers that keeps no locks.
_UNSUPPORTED = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})


@contextmanager
def claimed(directory: Path, on_wait: Callable[[str], None]) -> Iterator[bool]:
    """Be the only one who writes to a run directory; it is made if need be.

    The kernel holds the lock, and it ends with the process, however that ends. Where the file system keeps
    no locks nobody is waited for; the store does not rely on this one.

    Args:
        on_wait: told who is waited for.

    Yields:
        whether somebody was waited for; then the directory has changed.

    Raises:
        OSError: the directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory / CLAIM, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        waited = _lock(handle, on_wait)
        os.truncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {platform.node()}".encode(), 0)
        for left in directory.glob(f".*{TEMPORARY}"):
            left.unlink(missing_ok=True)
        yield waited
    finally:
        os.close(handle)


def _lock(handle: int, on_wait: Callable[[str], None]) -> bool:
    """Whether it had to be waited for."""
    try:
        import fcntl  # POSIX only
    except ImportError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        on_wait(os.pread(handle, 1000, 0).decode(errors="replace") or "another process")
        fcntl.flock(handle, fcntl.LOCK_EX)
        return True
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    return False
