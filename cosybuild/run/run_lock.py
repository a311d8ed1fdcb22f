"""The lock on a run directory, so that processes with the same command do not overwrite each other's records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cosybuild.system.files import TEMPORARY
from cosybuild.system.local_lock import locked

CLAIM = ".claim"
"""The lock file. Its content names the owner for messages."""


@contextmanager
def hold_run_lock(directory: Path, on_wait: Callable[[str], None]) -> Iterator[bool]:
    """Make the run directory if it does not exist, and hold the exclusive lock on it.

    On a file system without locks, return at once without a lock; the store does not depend on it.

    Args:
        on_wait: called with the name of the owner that is waited for.

    Yields:
        True if another process was waited for; it may have changed the directory.

    Raises:
        OSError: the directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / CLAIM, on_wait, required=False) as waited:
        for left in directory.glob(f".*{TEMPORARY}"):
            left.unlink(missing_ok=True)
        yield waited
