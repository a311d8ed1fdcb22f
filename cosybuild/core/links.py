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
from cosybuild.core.digests import Digests
from cosybuild.core.disk import explained
from cosybuild.core.objects import is_sealed

FICLONE = 0x40049409
"""The Linux request that makes a file share another's blocks, copied when either is written."""

_PREFIX = ".cosybuild-"
_LEFTOVER_SECONDS = 3600.0
# What a file system or a mount answers when it cannot share blocks, or cannot link.
_UNSUPPORTED = frozenset(
    {errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EACCES}
)


def copy_of(source: Path, target: Path) -> str:
    """Make `target` a file of the same content that shares nothing a writer could reach.

    A hard link is one file under two names, so it is made only where the read-only mode of the stored
    file really binds this process; root, for one, ignores it.

    Args:
        source: a stored file, which is read-only.
        target: does not exist.

    Returns:
        `reflink`, `hard link` or `copy`.

    Raises:
        OSError: nothing was made.
    """
    try:
        if _reflink(source, target):
            kind = "reflink"
        elif not os.access(source, os.W_OK, effective_ids=os.access in os.supports_effective_ids) and _hard_link(
            source, target
        ):
            return "hard link"
        else:
            shutil.copyfile(source, target)
            kind = "copy"
        stat = source.stat()
        os.utime(target, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    except BaseException:
        with suppress(OSError):
            target.unlink()
        raise
    return kind


def lay_out(artifact: Artifact, directory: Path, names: Mapping[str, str], digests: Digests) -> tuple[Path, ...]:
    """Place the files of an artifact in `directory`; one that is there already is left alone.

    Args:
        artifact: its files lie in the store.
        directory: made if need be.
        names: the file's own name -> the name it gets; others keep their own.
        digests: the memo.

    Returns:
        where they lie, in the order of the artifact's files.

    Raises:
        StoreError: a file could not be placed; each is either as it was or complete.
    """
    placed = []
    with explained("place artifacts in", directory):
        directory.mkdir(parents=True, exist_ok=True)
        _sweep(directory)
    for file in artifact.files:
        target = directory / names.get(file.name, file.name)
        with explained("place the artifact", target):
            if not _is_there(file, target, digests):
                temporary = directory / f"{_PREFIX}{secrets.token_hex(8)}"
                copy_of(file.path, temporary)
                try:
                    temporary.replace(target)
                except OSError:
                    temporary.unlink()
                    raise
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


def _hard_link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _UNSUPPORTED | {errno.EMLINK}:
            raise
        return False
    return True


def _is_there(file: StoredFile, target: Path, digests: Digests) -> bool:
    try:
        stat = target.lstat()
        if not S_ISREG(stat.st_mode) or stat.st_size != file.size:
            return False
        return is_sealed(stat, file.digest) or digests.digest(target)[0] == file.digest
    except FileNotFoundError:
        return False


def _sweep(directory: Path) -> None:
    """Remove the temporary files of a process that was killed while it placed something here."""
    for path in directory.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            # Not its mtime, which is the stored file's as soon as it is whole.
            if time.time() - path.lstat().st_ctime > _LEFTOVER_SECONDS:
                path.unlink()
