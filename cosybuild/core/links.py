"""Artifacts placed where people look for them, without a way back that could damage the store."""

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

from cosybuild.core.artifact import Artifact, StoredFile
from cosybuild.core.digests import Digests, digest_of
from cosybuild.core.disk import explained

FICLONE = 0x40049409
"""The Linux request that makes a file share another's blocks, copied when either is written."""

_PREFIX = ".cosybuild-"
_LEFTOVER_SECONDS = 3600.0
# What a file system or a mount answers when it cannot share blocks, or cannot link.
_UNSUPPORTED = frozenset(
    {errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EACCES}
)


class DamagedContent(Exception):
    """A stored file has other content than its digest says, although no time shows it.

    Attributes:
        file: the stored file.
    """

    def __init__(self, file: StoredFile) -> None:
        super().__init__(file.path)
        self.file = file


def copy_of(source: Path, target: Path) -> str:
    """Make `target` a file of the same content that shares nothing a writer could reach.

    A hard link is one file under two names, which its owner can write through whatever its mode says, so none
    is made.

    Args:
        source: a stored file.
        target: does not exist.

    Returns:
        `reflink` or `copy`.

    Raises:
        OSError: nothing was made.
    """
    try:
        kind = "reflink" if _reflink(source, target) else "copy"
        if kind == "copy":
            shutil.copyfile(source, target)
        stat = source.stat()
        os.utime(target, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    except BaseException:
        with suppress(OSError):
            target.unlink()
        raise
    return kind


def lay_out(
    artifact: Artifact, directory: Path, names: Mapping[str, str], digests: Digests, *, thorough: bool = False
) -> tuple[Path, ...]:
    """Place the files of an artifact in `directory`; one that is there already is left alone.

    What was placed is read once more. That costs nothing in the end, because the memo then knows the file,
    which the next command would read otherwise.

    Args:
        artifact: its files lie in the store.
        directory: made if need be.
        names: the file's own name -> the name it gets; others keep their own.
        digests: the memo.
        thorough: read what is there already, whatever the memo says.

    Returns:
        where they lie, in the order of the artifact's files.

    Raises:
        DamagedContent: the stored file has other content than its digest says; nothing was placed.
        StoreError: a file could not be placed; each is either as it was or complete.
    """
    placed = []
    with explained("place artifacts in", directory, of_the_store=False):
        directory.mkdir(parents=True, exist_ok=True)
        _sweep(directory)
    for file in artifact.files:
        target = directory / names.get(file.name, file.name)
        with explained("place the artifact", target, of_the_store=False):
            if not _is_there(file, target, digests, thorough=thorough):
                temporary = directory / f"{_PREFIX}{secrets.token_hex(8)}"
                copy_of(file.path, temporary)
                try:
                    if digest_of(temporary) != file.digest:
                        raise DamagedContent(file)
                    temporary.replace(target)
                except BaseException:
                    temporary.unlink()
                    raise
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
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        else:
            return True
    target.unlink()
    return False


def _is_there(file: StoredFile, target: Path, digests: Digests, *, thorough: bool) -> bool:
    """Whether the target has the content. Its time is no proof: who writes it can set the time too."""
    try:
        stat = target.lstat()
        if not S_ISREG(stat.st_mode) or stat.st_size != file.size:
            return False
        return digests.digest(target, thorough=thorough)[0] == file.digest
    except FileNotFoundError:
        return False


def _sweep(directory: Path) -> None:
    """Remove the temporary files of a process that was killed while it placed something here."""
    for path in directory.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            # Not its mtime, which is the stored file's as soon as it is whole.
            if time.time() - path.lstat().st_ctime > _LEFTOVER_SECONDS:
                path.unlink()
