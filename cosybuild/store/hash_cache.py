"""The digest cache: the sha256 of files, stored with their size, times and inode, so that a file is read only once."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cosybuild.digest import digest_of
from cosybuild.errors import StoreError
from cosybuild.store.artifact import Identity
from cosybuild.store.entry import is_digest
from cosybuild.system.files import write_atomic

_HEAD = "cosybuild digests 1"
_LIMIT = 4000

Stamp = tuple[int, int, int, int]
"""The size, mtime in ns, ctime in ns, and inode of a file.

The device is left out, because its number can change when the file system is mounted again. Programs cannot set the
ctime, so a write that restores the mtime is detected too.
"""


def stamp_of(stat: os.stat_result) -> Stamp:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def identity_of(stat: os.stat_result) -> Identity:
    """Return the identity of a file. If it is equal at two moments, the file was not replaced or changed in between."""
    return (stat.st_dev, *stamp_of(stat))


class HashCache:
    """A digest cache in one small file that all processes share.

    Args:
        path: the file of the cache; it need not exist.
        scratch: a directory on the same file system for temporary files.
        warn: called if the cache is damaged. It is then made again by reading the files.
    """

    def __init__(self, path: Path, scratch: Path, warn: Callable[[str], None]) -> None:
        self._path = path
        self._scratch = scratch
        self._warn = warn
        self._known: dict[str, tuple[Stamp, str]] | None = None
        self._learned: dict[str, tuple[Stamp, str]] = {}
        self._damaged = False

    def digest(self, path: Path, *, thorough: bool = False) -> tuple[str, int]:
        """Return the sha256 and the size in bytes of a file.

        Args:
            path: the file; symbolic links are followed.
            thorough: read the file even if the cache has its digest.

        Raises:
            OSError, StoreError: see `observe`.
        """
        digest, identity = self.observe(path, thorough=thorough)
        return digest, identity[1]

    def observe(self, path: Path, *, thorough: bool = False) -> tuple[str, Identity]:
        """Return the sha256 and the identity of a file. The file is read only if its stamp is not the one in the cache.

        Args:
            path: the file; symbolic links are followed.
            thorough: read the file even if the cache has its digest.

        Raises:
            OSError: the file cannot be read.
            StoreError: the file changes while it is read.
        """
        name = os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links, whose targets are stamped anyway
        identity = identity_of(path.stat())
        if self._known is None:
            self._known = self._load()
        memo = self._learned.get(name) or self._known.get(name)
        if memo is not None and memo[0] == identity[1:] and not thorough:
            return memo[1], identity
        for _ in range(3):
            settled = _settle(identity[1:])
            digest = digest_of(path)
            after = identity_of(path.stat())
            if after == identity:
                if settled and self._scratch not in path.parents:
                    self._learned[name] = identity[1:], digest
                return digest, identity
            identity = after
        raise StoreError(
            f"{path} changed while it was read, so it has no digest.",
            hint="Next: run the same command again when the file is complete",
        )

    def learn(self, path: Path, digest: str) -> None:
        """Store the digest of a file that was just read, unless a later write might leave the file's stamp as it is."""
        name = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links
        with suppress(OSError):
            stamp = stamp_of(path.stat())
            if _settle(stamp) and stamp_of(path.stat()) == stamp:
                self._learned[name] = stamp, digest

    def forget(self, path: Path) -> None:
        """Invalidate the digest of a file whose content turned out to be different."""
        name = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links
        self._learned[name] = (0, 0, 0, 0), "0" * 64

    def flush(self) -> None:
        """Write the new digests to the file of the cache. Disk errors are ignored: the next run then takes longer."""
        if not self._learned:
            return
        known = self._load()
        for name, memo in self._learned.items():
            known.pop(name, None)
            known[name] = memo
        self._write(dict(list(known.items())[-_LIMIT:]))
        self._known, self._learned = known, {}

    def _write(self, known: dict[str, tuple[Stamp, str]]) -> None:
        text = json.dumps({name: [*stamp, digest] for name, (stamp, digest) in known.items()}, indent=0)
        data = f"{_HEAD} {hashlib.sha256(text.encode()).hexdigest()}\n{text}".encode()
        with suppress(OSError):
            write_atomic(self._path, data, self._scratch, durable=False)

    def _load(self) -> dict[str, tuple[Stamp, str]]:
        try:
            data = self._path.read_bytes()
        except OSError:
            return {}
        head, _, text = data.partition(b"\n")
        # A flipped byte in a digest would give a wrong key, so a damaged cache is discarded as a whole.
        if head.decode("ascii", "replace") != f"{_HEAD} {hashlib.sha256(text).hexdigest()}":
            if not self._damaged:
                self._warn(f"The cache of digests {self._path} is damaged; the files are read again.")
            self._damaged = True
            return {}
        rows = json.loads(text)
        return {name: ((row[0], row[1], row[2], row[3]), row[4]) for name, row in rows.items() if is_digest(row[4])}


def _settle(stamp: Stamp) -> bool:
    """Wait until any later change of a file is certain to alter its stamp.

    A file that is written twice within one tick of the file system's clock keeps its ctime. A digest that was computed
    between the two writes would then stay in the cache (git calls such a file racily clean). So a file is read only
    after the tick of its last change is over. A tick lasts up to 10 ms, and up to 2 s on file systems that keep whole
    seconds.

    Returns:
        False if the ctime is in the future, so that waiting does not help; else True.
    """
    ctime = stamp[2]
    tick = 2_000_000_000 if ctime % 1_000_000_000 == 0 else 50_000_000
    age = time.time_ns() - ctime
    if age < 0:
        return False
    if age < tick:
        time.sleep((tick - age) / 1e9)
    return True
