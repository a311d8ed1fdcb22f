"""The lock on a run directory, so that processes with the same command do not overwrite each other's records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cosybuild.system.files import TEMPORARY
from cosybuild.system.local_lock import locked

CLAIM = ".claim"
"""The lock file. Its content names the holder for messages."""


@contextmanager
def claimed(directory: Path, on_wait: Callable[[str], None]) -> Iterator[bool]:
    """Hold the exclusive lock on a run directory, which is made if need be.

    On a file system without locks there is no waiting; the store does not depend on this lock.

    Args:
        on_wait: called with the name of the holder that is waited for.

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
