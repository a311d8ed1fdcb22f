"""The lock on a run directory, so that processes with the same command do not overwrite each other's records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cosybuild.system.files import TEMPORARY
from cosybuild.system.local_lock import locked

CLAIM = ".claim"
"""The name of the lock file in a run directory. The content of the file names the owner, for messages."""


@contextmanager
def hold_run_lock(directory: Path, on_wait: Callable[[str], None]) -> Iterator[bool]:
    """Make the run directory if it does not exist, and hold the exclusive lock on it during the `with` block.

    On a file system that does not support locks, continue without a lock. The store is safe without this lock.

    Args:
        directory: the run directory.
        on_wait: called with the name of the process that holds the lock, if this process has to wait.

    Yields:
        True if this process had to wait. The other process may have changed the directory.

    Raises:
        OSError: the directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / CLAIM, on_wait, required=False) as waited:
        for left in directory.glob(f".*{TEMPORARY}"):
            left.unlink(missing_ok=True)
        yield waited
