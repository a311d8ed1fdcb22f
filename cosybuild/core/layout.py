"""Where things lie in a store's directory, and which versions of cosybuild can read it.

VERSION                        which layout this is
objects/ab/<sha256>            contents, read-only, each under its digest
entries/<stage>/<key>.json     finished steps; written last, so whoever sees one may use it
tmp/<name>-<token>/            working directories and everything not yet finished
locks/<key>/<token>            who is building what
quarantine/                    damaged contents that were replaced
traces/<target>.json           what a user's module was made of when it was last looked at; may be deleted at any time
digests                        the memo of digests; may be deleted at any time
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from cosybuild.core.disk import explained, write_atomic
from cosybuild.errors import StoreError

VERSION = 1


class Layout:
    """The paths of one store. Making one reads VERSION and writes nothing.

    Args:
        path: the store's directory; it need not exist.
        warn: told when VERSION is damaged; it is written anew with the next result.

    Raises:
        StoreError: the directory is a store of a newer layout, or cannot be read.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self.path = path.absolute()
        self.version = self.path / "VERSION"
        self.objects = self.path / "objects"
        self.entries = self.path / "entries"
        self.tmp = self.path / "tmp"
        self.locks = self.path / "locks"
        self.quarantine = self.path / "quarantine"
        self.digests = self.path / "digests"
        self._is_marked = self._read(warn)

    def prepare(self) -> None:
        """Make the directory a store before something is written to it.

        Raises:
            StoreError: it cannot be written.
        """
        if self._is_marked:
            return
        with explained("write the store", self.path):
            write_atomic(self.version, _version_line(VERSION), self.tmp)
        self._is_marked = True

    def _read(self, warn: Callable[[str], None]) -> bool:
        with explained("read the store", self.path):
            try:
                line = self.version.read_bytes()
            except FileNotFoundError:
                return False
        number = line.split()[2] if len(line.split()) == 4 else b""
        if not number.isdigit() or line != _version_line(int(number)):
            warn(f"{self.version} is damaged; it is taken for version {VERSION} and will be written anew.")
            return False
        if int(number) != VERSION:
            raise StoreError(
                f"{self.path} is a store of version {int(number)}; this cosybuild reads version {VERSION}.",
                hint="Next: upgrade cosybuild, or set store.path to another directory",
            )
        return True


def _version_line(number: int) -> bytes:
    # With a checksum, so that a flipped bit is not taken for a newer version.
    text = f"cosybuild store {number}"
    return f"{text} {hashlib.sha256(text.encode()).hexdigest()[:16]}\n".encode()
