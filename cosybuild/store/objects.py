"""The stored files, each named by its digest. The mtime of each file carries a seal, which shows a later write."""

from __future__ import annotations

import os
import secrets
import stat as modes
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cosybuild.errors import StoreError
from cosybuild.store.entry import is_digest
from cosybuild.store.hash_cache import HashCache
from cosybuild.system.files import make_directory, sync_directory


def seal_of(digest: str) -> int:
    """Return the seal of a content: the fraction of a second, in ns, that the mtime of a file with this content gets.

    An ordinary write sets the mtime to the time of the write. That time has the same fraction only once in ten million
    writes. So a file whose mtime carries the seal has not been written since it was sealed. This holds on every host,
    and after the store was moved or copied with its times. The seal is a multiple of 100 ns because some network file
    systems keep no finer times.
    """
    return int(digest[:12], 16) % 9_999_999 * 100 + 100


def is_sealed(stat: os.stat_result, digest: str) -> bool:
    """Return True if the mtime of a file has the seal of a content with this digest (see `seal_of`)."""
    return stat.st_mtime_ns % 1_000_000_000 == seal_of(digest)


class Objects:
    """The directory of stored files. Each file is named by the digest of its content, e.g. `ab/abcdef...`.

    Args:
        path: the directory.
        quarantine: the directory for damaged files; a build never deletes these.
        digests: the digest cache. It is used for files without a seal, such as copies that did not keep the times.
    """

    def __init__(self, path: Path, quarantine: Path, digests: HashCache) -> None:
        self.path = path
        self._quarantine = quarantine
        self._digests = digests

    def locate(self, digest: str) -> Path:
        """Return the path of the stored file with this digest; the file need not exist."""
        return self.path / digest[:2] / digest

    def __iter__(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the digest and the stat of every stored file."""
        with suppress(FileNotFoundError):
            for shelf in sorted(os.scandir(self.path), key=lambda entry: entry.name):
                if not shelf.is_dir(follow_symlinks=False):
                    continue
                for entry in sorted(os.scandir(shelf.path), key=lambda entry: entry.name):
                    with suppress(FileNotFoundError):
                        if is_digest(entry.name):
                            yield entry.name, entry.stat(follow_symlinks=False)

    def fault(self, digest: str, size: int | None = None, *, thorough: bool = False) -> str | None:
        """Return the fault of a stored file as a phrase, such as `is missing`; None if the file is intact.

        Args:
            digest: the digest of the file.
            size: the expected size in bytes; None if it is not known.
            thorough: read the file even if its seal is intact. This detects damage that left the times unchanged.
        """
        path = self.locate(digest)
        try:
            stat = path.lstat()
            if not modes.S_ISREG(stat.st_mode):
                return "is not a regular file"
            if size is not None and stat.st_size != size:
                return f"has {stat.st_size} bytes instead of {size}"
            if is_sealed(stat, digest) and not thorough:
                return None
            found, _ = self._digests.digest(path, thorough=thorough)
        except FileNotFoundError:
            return "is missing"
        except (OSError, StoreError) as error:
            return f"cannot be read ({error})"
        return None if found == digest else f"has other content (sha256 {found[:12]}…)"

    def put(self, file: Path, digest: str) -> Path:
        """Move a finished file into the store and seal it.

        If the store has a file with this digest already, the new file replaces it. The old file may be damaged although
        its times are unchanged. The new file is sound, because its digest was just computed from its content.

        Args:
            file: a regular file on the same file system, which no other path or process refers to.
            digest: its sha256.

        Returns:
            The path of the file in the store.

        Raises:
            OSError: the file could not be moved; the store is unchanged.
        """
        target = self.locate(digest)
        make_directory(target.parent)
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fchmod(handle, 0o444)
            # Use the second before the present one, so that no time is in the future.
            before = (os.fstat(handle).st_mtime_ns // 1_000_000_000 - 1) * 1_000_000_000
            os.utime(handle, ns=(before, before + seal_of(digest)))
            os.fsync(handle)
        finally:
            os.close(handle)
        file.replace(target)
        sync_directory(target.parent)
        return target

    def remove(self, digest: str, horizon: float) -> None:
        """Delete a stored file, unless it was stored at or after `horizon`, in seconds of the file system's clock.

        Raises:
            OSError: the file could not be deleted.
        """
        path = self.locate(digest)
        with suppress(FileNotFoundError):
            # Check again, because a build may have stored the same content while gc read the store.
            if path.lstat().st_ctime < horizon:
                path.unlink()

    def set_aside(self, digest: str, size: int | None, *, thorough: bool) -> Path | None:
        """Move a stored file to the quarantine if it is damaged.

        Args:
            digest: the digest of the file.
            size: the expected size in bytes; None if it is not known.
            thorough: read the file even if its seal is intact.

        Returns:
            The new path; None if the file was not moved.

        Raises:
            OSError: the file could not be moved.
        """
        if self.fault(digest, size, thorough=thorough) is None:
            return None
        make_directory(self._quarantine)
        target = self._quarantine / f"{digest}.{secrets.token_hex(4)}"
        try:
            self.locate(digest).rename(target)
        except FileNotFoundError:  # it is missing, or another process was first
            return None
        return target
