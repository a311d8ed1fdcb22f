"""The contents, each under its own digest, sealed so that a change shows without reading them."""

from __future__ import annotations

import os
import secrets
import stat as modes
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cosybuild.core.digests import Digests
from cosybuild.core.disk import make_directory, sync_directory
from cosybuild.core.entry import is_digest
from cosybuild.errors import StoreError


def seal_of(digest: str) -> int:
    """The fraction of a second, in ns, that the mtime of a file with this content is given.

    Any ordinary write sets the mtime to the time of the write, and hits this fraction once in ten
    million. So a file whose mtime carries the seal has not been written since it was sealed, on every
    host, and after the store was moved or copied with its times. It is a multiple of 100 ns because
    some network file systems keep no finer times.
    """
    return int(digest[:12], 16) % 9_999_999 * 100 + 100


def is_sealed(stat: os.stat_result, digest: str) -> bool:
    """Whether the file's mtime carries the seal of `digest`."""
    return stat.st_mtime_ns % 1_000_000_000 == seal_of(digest)


class Objects:
    """The directory of contents: `ab/abcdef...`.

    Args:
        path: the directory.
        quarantine: where damaged contents are moved; they are never deleted by a build.
        digests: the memo, for objects whose seal was lost (a copy without times).
    """

    def __init__(self, path: Path, quarantine: Path, digests: Digests) -> None:
        self.path = path
        self._quarantine = quarantine
        self._digests = digests

    def locate(self, digest: str) -> Path:
        """Where the content with this digest lies or would lie."""
        return self.path / digest[:2] / digest

    def __iter__(self) -> Iterator[tuple[str, os.stat_result]]:
        """Digest and stat of every object."""
        with suppress(FileNotFoundError):
            for shelf in sorted(os.scandir(self.path), key=lambda entry: entry.name):
                if not shelf.is_dir(follow_symlinks=False):
                    continue
                for entry in sorted(os.scandir(shelf.path), key=lambda entry: entry.name):
                    with suppress(FileNotFoundError):
                        if is_digest(entry.name):
                            yield entry.name, entry.stat(follow_symlinks=False)

    def fault(self, digest: str, size: int | None = None, *, thorough: bool = False) -> str | None:
        """What is wrong with an object, as a phrase; None where nothing is.

        Args:
            digest: the object's.
            size: bytes that it must have; None where that is not known.
            thorough: read it even if its seal is whole, which finds rot that left the times alone.
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
        """Move a finished file in; one that is there already is replaced, whatever its state.

        The old one is not compared: the new content has just been read, and replacing it repairs
        damage that leaves no trace in the times.

        Args:
            file: a regular file on the same file system that nothing else refers to.
            digest: its sha256.

        Raises:
            OSError: nothing has changed in the store.
        """
        target = self.locate(digest)
        make_directory(target.parent)
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fchmod(handle, 0o444)
            # The second before, so that no time lies in the future.
            before = (os.fstat(handle).st_mtime_ns // 1_000_000_000 - 1) * 1_000_000_000
            os.utime(handle, ns=(before, before + seal_of(digest)))
            os.fsync(handle)
        finally:
            os.close(handle)
        file.replace(target)
        sync_directory(target.parent)
        return target

    def remove(self, digest: str, horizon: float) -> None:
        """Delete an object unless it was put in, again perhaps, at or after `horizon` (the file system's seconds).

        Raises:
            OSError: it could not be deleted.
        """
        path = self.locate(digest)
        with suppress(FileNotFoundError):
            # Asked again: a build may have put the same content in while the store was read.
            if path.lstat().st_ctime < horizon:
                path.unlink()

    def set_aside(self, digest: str, size: int | None, *, thorough: bool) -> Path | None:
        """Move an object to the quarantine if it really is damaged; where to, or None.

        Raises:
            OSError: it could not be moved.
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
