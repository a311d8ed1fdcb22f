"""Notes in the store about the entries that a process uses, so that `gc` keeps them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

USE_SECONDS = 600.0
"""A use is noted only if the last note is older than this, so that a build of hits usually writes no note."""


class Uses:
    """The entries that this process used. The mtime of an entry's file is its last use."""

    def __init__(self) -> None:
        self._entries: set[Path] = set()
        self._at_once = False

    def add(self, entry: Path) -> None:
        """Record the use of an entry; within `at_once`, note it immediately."""
        self._entries.add(entry)
        if self._at_once:
            _note(entry)

    def note(self) -> None:
        """Note all uses whose last note is older than USE_SECONDS; disk errors are ignored."""
        for entry in self._entries:
            with suppress(OSError):
                # The file system's clock may differ from ours by minutes; the comparison only saves writes.
                if abs(time.time() - entry.stat().st_mtime) > USE_SECONDS:
                    _note(entry)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Note all earlier uses at once, and until the `with` block ends every further use as it happens."""
        for entry in self._entries:
            _note(entry)
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False


def _note(entry: Path) -> None:
    with suppress(OSError):
        os.utime(entry)
