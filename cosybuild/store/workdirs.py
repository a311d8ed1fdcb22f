"""Working directories, which are removed when their processes are done with them, or later if a process was killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cosybuild.errors import StoreError
from cosybuild.system.files import FULL, clock_of, convert_disk_errors, make_directory, store_error
from cosybuild.system.modes import share
from cosybuild.system.owner import Heartbeat, Owner, read_owner

LEFTOVER_SECONDS = 3600.0
"""An age in seconds. If a process cannot be checked, its directory is removed once its record is older than this."""


class Workdirs:
    """The working directories in `<store>/tmp`, on the file system of the store.

    Args:
        path: the directory in which they are made.
        heart: the heartbeat, which keeps the mtimes of the directories' records recent.
    """

    def __init__(self, path: Path, heart: Heartbeat) -> None:
        self.path = path
        self._heart = heart
        self._swept = False

    @contextmanager
    def new(self, name: str) -> Iterator[Path]:
        """Make a fresh empty directory, yield it, and remove it after the `with` block.

        Args:
            name: the beginning of the directory's name.

        Raises:
            StoreError: the directory cannot be made, or the disk became full within the block.
        """
        self.sweep()
        owner = Owner.of_this_process()
        home = self.path / f"{name[:40]}-{owner.token}"
        work = home / "work"
        with convert_disk_errors("make a working directory in", self.path):
            try:
                make_directory(home, durable=False)
                (home / owner.token).write_bytes(owner.encode())
                share(home / owner.token)
                make_directory(work, durable=False)
            except OSError:
                shutil.rmtree(home, ignore_errors=True)
                raise
        self._heart.add(home / owner.token)
        try:
            yield work
        except (OSError, RuntimeError) as error:
            # Libraries report a full disk by errors of their own (torch.save: a RuntimeError of its file writer).
            if isinstance(error, OSError) and error.errno in FULL:
                if _lies_elsewhere(error, self.path.parent):
                    raise
                raise store_error(error, f"write the results of {name} in", self.path) from error
            if _is_full(self.path):
                raise StoreError(
                    f"The disk of {self.path} is full, and so {name} failed: {error}",
                    hint="Next: free some space, or set store.path to a larger disk",
                ) from error
            raise
        finally:
            self._heart.remove(home / owner.token)
            shutil.rmtree(home, ignore_errors=True)

    def sweep(self, *, always: bool = False) -> None:
        """Remove the directories of dead processes. Ignore directories that cannot be removed.

        Args:
            always: sweep even if this object has done it before; by default, later calls do nothing.
        """
        if self._swept and not always:
            return
        self._swept = True
        with suppress(OSError):
            entries = list(self.path.iterdir())
            now = clock_of(self.path)
            for entry in entries:
                with suppress(OSError):
                    if not _is_left_over(entry, now):
                        continue
                    if entry.is_dir() and not entry.is_symlink():
                        shutil.rmtree(entry, ignore_errors=True)
                    else:
                        entry.unlink()

    def oldest(self) -> float | None:
        """Return the time at which the oldest running work began, by the file system's clock; None if there is none."""
        began = []
        with suppress(OSError):
            for entry in self.path.iterdir():
                with suppress(OSError):
                    # The names in `entry` never change after it was made, so its mtime is the time of its creation.
                    if (entry / "work").is_dir():
                        began.append(entry.stat().st_mtime)
        return min(began, default=None)


def _is_left_over(entry: Path, now: float) -> bool:
    record = entry / entry.name.rpartition("-")[2]
    try:
        owner, mtime = read_owner(record)
    except OSError:
        return now - entry.lstat().st_mtime > LEFTOVER_SECONDS
    alive = None if owner is None else owner.is_alive()
    return now - mtime > LEFTOVER_SECONDS if alive is None else not alive


def _lies_elsewhere(error: OSError, store: Path) -> bool:
    """Return True if the error names a file outside the store, such as the report of a run on another disk."""
    if error.filename is None:
        return False
    return not Path(os.fsdecode(error.filename)).absolute().is_relative_to(store.absolute())


def _is_full(path: Path) -> bool:
    try:
        return os.statvfs(path).f_bavail * os.statvfs(path).f_frsize < 2**16
    except OSError:
        return False
