"""Writes that happen whole or not at all, and one clear error for whatever the disk refuses."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cosybuild.errors import StoreError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_CAUSES = {
    errno.ENOSPC: (
        "the disk is full",
        "Next: free some space (python -m cosybuild gc --dry-run shows what the store can give), "
        "or set store.path to a larger disk",
    ),
    errno.EDQUOT: ("the quota is used up", "Next: free some space, or set store.path to another disk"),
    errno.EFBIG: ("the file is larger than this process may write", "Next: raise the limit, see `ulimit -f`"),
    errno.EROFS: ("the file system is read-only", "Next: set store.path to a directory that can be written"),
    errno.EACCES: (
        "permission denied",
        "Next: ask its owner for write access, or set store.path to your own directory",
    ),
    errno.EPERM: ("not permitted", "Next: ask its owner for write access, or set store.path to your own directory"),
    errno.ENAMETOOLONG: ("the path is too long for this file system", "Next: set store.path to a shorter path"),
    errno.ENOTDIR: ("a part of the path is a file, not a directory", "Next: set store.path to a directory"),
    errno.EEXIST: ("a file stands where a directory is needed", "Next: set store.path to a directory"),
    errno.EISDIR: ("a directory stands where a file is needed", "Next: move it away and run again"),
    errno.EIO: ("the disk reports an input/output error", "Next: look at the system log; the disk may be failing"),
    errno.ESTALE: ("the network file system lost the file", "Next: check the mount, and run again"),
}


def store_error(error: OSError, doing: str, path: Path | str) -> StoreError:
    """The error that a user should read for an OSError met while `doing` something with `path`."""
    what, hint = _CAUSES.get(error.errno or 0, (error.strerror or str(error), "Next: run again once it is repaired"))
    return StoreError(f"Cannot {doing} {path}: {what}. Nothing half-written was left behind.", hint=hint)


@contextmanager
def explained(doing: str, path: Path | str) -> Iterator[None]:
    """Turn an OSError of the body into a StoreError.

    Raises:
        StoreError: names the path, the cause and what to do.
    """
    try:
        yield
    except OSError as error:
        raise store_error(error, doing, path) from error


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut; file systems that cannot are left alone."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_atomic(target: Path, data: bytes, scratch: Path, *, durable: bool = True) -> None:
    """Write `target` through a temporary file in `scratch`, which must be on the same file system.

    Raises:
        OSError: the target is as it was before.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = scratch / f"{secrets.token_hex(8)}.part"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        sync_directory(target.parent)


def clock_of(directory: Path) -> float:
    """The time in seconds as the file system of `directory` tells it; a server's may differ from ours.

    Raises:
        OSError: nothing can be written there.
    """
    probe = directory / f"{secrets.token_hex(8)}.clock"
    with probe.open("xb"):
        pass
    try:
        return probe.stat().st_mtime
    finally:
        with suppress(OSError):
            probe.unlink()
