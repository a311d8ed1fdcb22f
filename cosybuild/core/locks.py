"""A lock that holds across processes and hosts on one directory and outlives no holder.

A lock is a directory with one record in it, named by a token that no other holder ever has. It is
taken by renaming a prepared directory onto the lock's name, which succeeds only where there is none or
an empty one; it is released, or broken after its holder's death, by deleting the record *by its token*.
So two that break a dead lock can only delete the dead record, never the one of whoever came next.

filelock's SoftFileLock and SoftFileLease (4.2) come near. They were not taken because a holder killed
between creating and writing its marker blocks for ever, a dead one is never replaced where the file
system cannot exchange two names (NFS), and the releases that still run on Python 3.10 judge age by the local clock.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cosybuild.core.disk import make_directory, store_error
from cosybuild.core.holder import Heart, Holder, Watch
from cosybuild.core.sharing import share
from cosybuild.errors import StoreError

_HELD = frozenset({errno.EEXIST, errno.ENOTEMPTY})


class Lock:
    """An exclusive claim on one name.

    Args:
        path: the lock's directory.
        scratch: where claims are prepared; on the same file system.
        heart: keeps the record fresh.
    """

    def __init__(self, path: Path, scratch: Path, heart: Heart) -> None:
        self._path = path
        self._scratch = scratch
        self._heart = heart
        self._record: Path | None = None

    def acquire(self, what: str, wait_seconds: float, on_wait: Callable[[str], None]) -> None:
        """Take the lock, waiting for a living holder.

        Args:
            what: what is waited for, for the error.
            wait_seconds: then give up.
            on_wait: called with the holder, once for each holder that is waited for.

        Raises:
            StoreError: it is still held after `wait_seconds`, or the disk refuses.
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
                    f"Waited {wait_seconds:g} s for {waits_for}, which is building {what} and still lives.",
                    hint=f"Next: see what it does, or raise store.wait_seconds (the lock is {self._path})",
                )
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(pause * 1.5, 0.5)

    @property
    def is_lost(self) -> bool:
        """Whether somebody took this process for dead and broke its lock."""
        return self._record is None or not self._record.exists()

    def release(self) -> None:
        """Give the lock back; what another process holds by now is not touched."""
        if self._record is None:
            return
        self._heart.remove(self._record)
        # A record that cannot be deleted now is broken by the next one who waits for it.
        with suppress(OSError):
            self._record.unlink()
        with suppress(OSError):
            self._path.rmdir()
        self._record = None

    def _take(self) -> bool:
        holder = Holder.of_this_process()
        claim = self._scratch / f"lock-{holder.token}"
        make_directory(claim, durable=False)
        record = self._path / holder.token
        try:
            (claim / holder.token).write_bytes(holder.encode())
            share(claim / holder.token)
            make_directory(self._path.parent, durable=False)
            try:
                claim.rename(self._path)
            except OSError as error:
                # A network file system may report a rename as failed that it has done.
                if not record.exists():
                    if error.errno in _HELD:
                        return False
                    if error.errno == errno.ENOTDIR:
                        self._path.unlink(missing_ok=True)
                        return False
                    raise
        finally:
            with suppress(OSError):
                (claim / holder.token).unlink()
            with suppress(OSError):
                claim.rmdir()
        self._record = record
        self._heart.add(record)
        return True

    def _look(self, watches: dict[str, Watch], on_wait: Callable[[str], None]) -> str | None:
        """Break the lock if its holder is dead; else tell who holds it. None: try at once again."""
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
                is_dead, holder = watch.verdict()
            except FileNotFoundError:
                return None
            if not is_dead:
                if is_new:
                    on_wait(holder)
                return holder
            record.unlink(missing_ok=True)
        return None
