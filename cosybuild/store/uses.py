"""The record of the entries that a process uses, kept in the mtimes of the entries' files, so that `gc` keeps them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

USE_SECONDS = 600.0
"""A new use of an entry is recorded only if the recorded use is older than this, in seconds.

So a build that finds all its results usually writes nothing.
"""


class Uses:
    """The entries that this process used. The mtime of an entry's file is the time of its last use."""

    def __init__(self) -> None:
        self._entries: set[Path] = set()
        self._at_once = False

    def add(self, entry: Path) -> None:
        """Remember the use of an entry. Within `at_once`, write it to the file's mtime immediately."""
        self._entries.add(entry)
        if self._at_once:
            _note(entry)

    def note(self) -> None:
        """Write all remembered uses whose recorded use is older than USE_SECONDS; disk errors are ignored."""
        for entry in self._entries:
            with suppress(OSError):
                # The comparison only saves writes, so it does not matter that the file system's clock may differ by
                # minutes.
                if abs(time.time() - entry.stat().st_mtime) > USE_SECONDS:
                    _note(entry)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Write all remembered uses now, and every further use as it happens until the `with` block ends."""
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
