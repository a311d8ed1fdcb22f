"""The layout of a store's directory, and its version.

VERSION                        the version of the layout
objects/ab/<sha256>            stored files, read-only, each under its digest
entries/<stage>/<key>.json     entries of finished steps; written last, so an entry that exists is complete
tmp/<name>-<token>/            working directories and unfinished files
locks/<key>/<token>            the record of the process that builds this key
quarantine/                    damaged entries and stored files
traces/<target>.json           the files that a user's module depends on (its last trace); may be deleted at any time
digests                        the digest cache; may be deleted at any time
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from cosybuild.errors import StoreError
from cosybuild.system.files import convert_disk_errors, write_atomic

VERSION = 1


class Layout:
    """The paths in the directory of one store. The constructor reads VERSION and writes nothing.

    Args:
        path: the store's directory; it need not exist.
        warn: called if VERSION is damaged. The file is written again when the next result is stored.

    Raises:
        StoreError: the directory is a store of another layout version, or cannot be read.
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
        """Write VERSION if it is missing or damaged. Call this before anything else is written to the store.

        Raises:
            StoreError: VERSION cannot be written.
        """
        if self._is_marked:
            return
        with convert_disk_errors("write the store", self.path):
            write_atomic(self.version, _version_line(VERSION), self.tmp)
        self._is_marked = True

    def _read(self, warn: Callable[[str], None]) -> bool:
        with convert_disk_errors("read the store", self.path):
            try:
                line = self.version.read_bytes()
            except FileNotFoundError:
                return False
        number = line.split()[2] if len(line.split()) == 4 else b""
        if not number.isdigit() or line != _version_line(int(number)):
            warn(f"{self.version} is damaged; version {VERSION} is assumed, and the file will be written again.")
            return False
        if int(number) != VERSION:
            raise StoreError(
                f"{self.path} is a store of version {int(number)}; this cosybuild reads version {VERSION}.",
                hint="Next: upgrade cosybuild, or set store.path to another directory",
            )
        return True


def _version_line(number: int) -> bytes:
    # The checksum distinguishes a flipped bit from a newer version.
    text = f"cosybuild store {number}"
    return f"{text} {hashlib.sha256(text.encode()).hexdigest()[:16]}\n".encode()
