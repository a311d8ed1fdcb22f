"""A lock between processes and hosts that share a directory. If the owner of a lock is dead, the lock is broken.

A lock is a directory with one file in it, the record of the owner. The name of the record is a token that no other
owner ever has. To take the lock, a process renames a prepared directory to the lock's name. This succeeds only if
nothing or an empty directory has that name. To release the lock, or to break it after its owner's death, a process
deletes the record with this token. So two processes that break a dead lock at the same time can delete only the dead
owner's record, and never the record of a new owner.

filelock's SoftFileLock and SoftFileLease (4.2) are similar. They are not used, for three reasons. If an owner is killed
between creating and writing its marker, the lock stays taken for ever. On file systems that cannot exchange two names
(NFS), a dead owner is never replaced. The releases for Python 3.10 compute ages by the local clock.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cosybuild.errors import StoreError
from cosybuild.system.files import make_directory, store_error
from cosybuild.system.modes import share
from cosybuild.system.owner import Heartbeat, Owner, Watch

_HELD = frozenset({errno.EEXIST, errno.ENOTEMPTY})


class Lock:
    """An exclusive lock on one name, among all processes and hosts that share the directory.

    Args:
        path: the directory that represents the lock.
        scratch: a directory on the same file system, in which the lock is prepared.
        heart: the heartbeat, which keeps the mtime of the lock's record recent.
    """

    def __init__(self, path: Path, scratch: Path, heart: Heartbeat) -> None:
        self._path = path
        self._scratch = scratch
        self._heart = heart
        self._record: Path | None = None

    def acquire(self, what: str, wait_seconds: float, on_wait: Callable[[str], None]) -> None:
        """Take the lock. Wait while a living process holds it, and break it if its owner is dead.

        Args:
            what: the thing that the owner builds, for the error message.
            wait_seconds: the longest wait in seconds.
            on_wait: called with the name of each owner for which this process waits, once for each owner.

        Raises:
            StoreError: the lock is still held after `wait_seconds`, or the disk reports an error.
        """
        deadline = time.monotonic() + wait_seconds
        watches: dict[str, Watch] = {}
        pause = 0.01
        while True:
            try:
                if self._take():
                    return
                waits_for = self._look(watches, on_wait)
            except OSError as error:
                raise store_error(error, "lock", self._path) from error
            if waits_for is None:
                continue
            if time.monotonic() >= deadline:
                raise StoreError(
                    f"Waited {wait_seconds:g} s for {waits_for}, which is building {what} and is still running.",
                    hint=f"Next: check that process, or raise store.wait_seconds (the lock is {self._path})",
                )
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(pause * 1.5, 0.5)

    @property
    def is_lost(self) -> bool:
        """True if this process does not hold the lock, e.g. because another process broke the lock."""
        return self._record is None or not self._record.exists()

    def release(self) -> None:
        """Release the lock. If another process has taken it in the meantime, leave it as it is."""
        if self._record is None:
            return
        self._heart.remove(self._record)
        # If the record cannot be deleted now, the next process that waits for the lock breaks it.
        with suppress(OSError):
            self._record.unlink()
        with suppress(OSError):
            self._path.rmdir()
        self._record = None

    def _take(self) -> bool:
        owner = Owner.of_this_process()
        claim = self._scratch / f"lock-{owner.token}"
        make_directory(claim, durable=False)
        record = self._path / owner.token
        try:
            (claim / owner.token).write_bytes(owner.encode())
            share(claim / owner.token)
            make_directory(self._path.parent, durable=False)
            try:
                claim.rename(self._path)
            except OSError as error:
                # A network file system may report an error for a rename that succeeded.
                if not record.exists():
                    if error.errno in _HELD:
                        return False
                    if error.errno == errno.ENOTDIR:
                        self._path.unlink(missing_ok=True)
                        return False
                    raise
        finally:
            with suppress(OSError):
                (claim / owner.token).unlink()
            with suppress(OSError):
                claim.rmdir()
        self._record = record
        self._heart.add(record)
        return True

    def _look(self, watches: dict[str, Watch], on_wait: Callable[[str], None]) -> str | None:
        """Look at the lock and break it if its owner is dead.

        Returns:
            The name of the living owner; None if the lock is free or was broken.
        """
        try:
            records = list(self._path.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not records:
            with suppress(OSError):
                self._path.rmdir()
        for record in records:
            is_new = record.name not in watches
            watch = watches.setdefault(record.name, Watch(record))
            try:
                is_dead, owner = watch.verdict()
            except FileNotFoundError:
                return None
            if not is_dead:
                if is_new:
                    on_wait(owner)
                return owner
            record.unlink(missing_ok=True)
        return None
