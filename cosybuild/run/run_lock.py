"""The lock on a run directory, so that two processes with the same command do not overwrite each other's records."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cosybuild.system.json_records import TEMPORARY

CLAIM = ".claim"
"""The lock file. Only its flock matters; its content names the holder for messages."""

# Errors of file systems that support no locks.
_UNSUPPORTED = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})


@contextmanager
def claimed(directory: Path, on_wait: Callable[[str], None]) -> Iterator[bool]:
    """Hold the exclusive lock on a run directory, which is made if need be.

    The kernel releases the lock when the process ends, in whatever way. On a file system without locks there
    is no waiting; the store does not depend on this lock.

    Args:
        on_wait: called with the name of the holder that is waited for.

    Yields:
        True if another process was waited for; it may have changed the directory.

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
    """Take the lock; return True if another process held it and was waited for."""
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
