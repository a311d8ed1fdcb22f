"""Copies of artifacts outside the store, by reflink or copy, so that a write to the copy cannot damage the store."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from cosybuild.digest import digest_of
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.store.hash_cache import HashCache
from cosybuild.system.files import convert_disk_errors

FICLONE = 0x40049409
"""The Linux ioctl for reflinks: two files share their blocks, and a write to one of them copies its blocks first."""

_PREFIX = ".cosybuild-"
_LEFTOVER_SECONDS = 3600.0
# Errors of file systems and mounts that cannot share blocks.
_UNSUPPORTED = frozenset(
    {errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EACCES}
)


class DamagedContent(Exception):
    """Raised if the content of a stored file does not have the file's digest, although its times are unchanged.

    Attributes:
        file: the stored file.
    """

    def __init__(self, file: StoredFile) -> None:
        super().__init__(file.path)
        self.file = file


def copy_of(source: Path, target: Path) -> str:
    """Copy a stored file so that writes to the copy never reach the store.

    A hard link is not used. It would be the same file, to which the owner could write after a change of its mode.

    Args:
        source: the stored file.
        target: a path that does not exist.

    Returns:
        `reflink` or `copy`.

    Raises:
        OSError: the copy failed. An incomplete file may exist at `target`.
    """
    kind = "reflink" if _reflink(source, target) else "copy"
    if kind == "copy":
        shutil.copyfile(source, target)
    stat = source.stat()
    os.utime(target, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    return kind


def checkout(
    artifact: Artifact, directory: Path, names: Mapping[str, str], digests: HashCache, *, thorough: bool = False
) -> tuple[Path, ...]:
    """Place the files of an artifact in `directory`; keep a file that already has the right content.

    Each placed file is read again to check it. The digest cache then has its digest, so that the next command need not
    read it.

    Args:
        artifact: an artifact whose files are in the store.
        directory: the directory; it is made if it does not exist.
        names: name of a file -> name to give it. Files that are not in it keep their names.
        digests: the digest cache.
        thorough: read existing files even if the digest cache has their digests.

    Returns:
        The paths of the placed files, in the order of the artifact's files.

    Raises:
        DamagedContent: the content of a stored file does not have its digest; this file was not placed.
        StoreError: a file could not be placed. Each file in the directory is either unchanged or complete.
    """
    placed = []
    with convert_disk_errors("place artifacts in", directory, of_the_store=False):
        directory.mkdir(parents=True, exist_ok=True)
        _sweep(directory)
    for file in artifact.files:
        target = directory / names.get(file.name, file.name)
        with convert_disk_errors("place the artifact", target, of_the_store=False):
            if not _is_there(file, target, digests, thorough=thorough):
                temporary = directory / f"{_PREFIX}{secrets.token_hex(8)}"
                try:
                    copy_of(file.path, temporary)
                    if digest_of(temporary) != file.digest:
                        raise DamagedContent(file)
                    temporary.replace(target)
                finally:
                    with suppress(OSError):
                        temporary.unlink(missing_ok=True)
                digests.learn(target, file.digest)
        placed.append(target)
    return tuple(placed)


def _reflink(source: Path, target: Path) -> bool:
    try:
        import fcntl  # POSIX only
    except ImportError:
        return False
    with source.open("rb") as old, target.open("xb") as new:
        try:
            fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
            return True
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
    return False


def _is_there(file: StoredFile, target: Path, digests: HashCache, *, thorough: bool) -> bool:
    """Return True if the target has the content of the file.

    The mtime alone does not show this, because a program can set it.
    """
    try:
        stat = target.lstat()
        if not S_ISREG(stat.st_mode) or stat.st_size != file.size:
            return False
        return digests.digest(target, thorough=thorough)[0] == file.digest
    except FileNotFoundError:
        return False


def _sweep(directory: Path) -> None:
    """Remove temporary files that a killed process has left in this directory."""
    for path in directory.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            # Do not use the mtime, because a complete copy has the mtime of the stored file.
            if time.time() - path.lstat().st_ctime > _LEFTOVER_SECONDS:
                path.unlink()
