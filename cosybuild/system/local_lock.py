"""An exclusive lock between the processes of one machine, on a file. The system releases the lock of a dead process.

The package filelock (4.3) does the same. It is not used because its import takes 45 ms, its file does not name the
owner for messages, and it waits by polling. Locks between hosts that share a directory are in `store/locks.py`.
"""

from __future__ import annotations

import errno
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cosybuild.system.files import naming

_UNSUPPORTED = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
# Windows locks a range of bytes, which other processes cannot read; this range is after the owner's name.
_WINDOWS_BYTE = 1 << 30


@contextmanager
def locked(path: Path, on_wait: Callable[[str], None] | None = None, *, required: bool = True) -> Iterator[bool]:
    """Hold the lock on the file `path`, which is created if it does not exist, during the `with` block.

    The file is not removed afterwards.

    Args:
        path: the file.
        on_wait: called with the name of the lock's owner before this process waits. None: do not wait, but raise an
            error.
        required: if False, continue without a lock on a file system that does not support locks.

    Yields:
        True if this process had to wait for another one.

    Raises:
        BlockingIOError: another process holds the lock, and `on_wait` is None.
        OSError: the file cannot be written, or its file system does not support locks.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        waited = False
        try:
            _lock(handle, wait=False)
        except BlockingIOError:
            if on_wait is None:
                raise
            on_wait(os.read(handle, 1000).decode(errors="replace") or "another process")
            _lock(handle, wait=True)
            waited = True
        except OSError as error:
            if required or error.errno not in _UNSUPPORTED:
                raise
        with naming(path):
            os.truncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, f"process {os.getpid()} on {platform.node()}".encode())
        yield waited
    finally:
        os.close(handle)


def _lock(handle: int, *, wait: bool) -> None:
    if os.name == "posix":
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    while True:
        os.lseek(handle, _WINDOWS_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # Windows only
            return
        except OSError as error:
            if not wait:
                raise BlockingIOError(errno.EWOULDBLOCK, "locked") from error
        time.sleep(0.1)
