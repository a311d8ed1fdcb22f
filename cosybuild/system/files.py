"""Atomic and durable writes, safe reads, and the conversion of disk errors to errors for users."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter, FileIO
from pathlib import Path

from cosybuild.errors import StoreError
from cosybuild.system.modes import share

TEMPORARY = ".part"
"""The suffix of a file that `replacing` has not finished. Such a file remains only if its process is killed."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def _same(what: str, hint: str) -> tuple[str, str, str]:
    return what, hint, hint


_CAUSES = {
    errno.ENOSPC: (
        "the disk is full",
        "Next: free some space (`python -m cosybuild gc --dry-run` lists results that can be removed), "
        "or set store.path to a larger disk",
        "Next: free some space on that disk, or work in a directory on a larger one",
    ),
    errno.EDQUOT: (
        "the quota is used up",
        "Next: free some space, or set store.path to another disk",
        "Next: free some space on that disk, or work in a directory on another one",
    ),
    errno.EFBIG: _same("the file is larger than this process may write", "Next: raise the limit (`ulimit -f`)"),
    errno.EROFS: (
        "the file system is read-only",
        "Next: set store.path to a directory that can be written",
        "Next: work in a directory that can be written",
    ),
    errno.EACCES: (
        "permission denied",
        "Next: ask its owner for access, or set store.path to your own directory",
        "Next: correct its mode or owner, or work in a directory of your own",
    ),
    errno.EPERM: (
        "not permitted",
        "Next: ask its owner for write access, or set store.path to your own directory",
        "Next: correct its mode or owner, or work in a directory of your own",
    ),
    errno.ENAMETOOLONG: (
        "the path is too long for this file system",
        "Next: set store.path to a shorter path",
        "Next: give a shorter name or path",
    ),
    errno.ENOTDIR: (
        "a part of the path is a file, not a directory",
        "Next: set store.path to a directory",
        "Next: move that file away, or work in another directory",
    ),
    errno.EEXIST: (
        "a file stands where a directory is needed",
        "Next: set store.path to a directory",
        "Next: move that file away, or work in another directory",
    ),
    errno.EISDIR: _same("a directory stands where a file is needed", "Next: move it away and run again"),
    errno.EIO: _same("the disk reports an input/output error", "Next: check the system log; the disk may be failing"),
    errno.ESTALE: _same("the network file system lost the file", "Next: check the mount, and run again"),
}
"""errno -> three texts: the cause, the next command for a path in the store, and the next command for another path."""


def store_error(error: OSError, doing: str, path: Path | str) -> StoreError:
    """Return the error for the user for an OSError on a path of the store.

    Args:
        error: the OSError.
        doing: the action, a verb such as `write`, which the message places before the path.
        path: the path.
    """
    what, hint, _ = _cause(error)
    return StoreError(f"Cannot {doing} {path}: {what}. No incomplete file was left.", hint=hint)


def place_error(error: OSError, doing: str, path: Path | str) -> StoreError:
    """Return the error for the user for an OSError on a path outside the store. Its hint does not name `gc`.

    Args:
        error: the OSError.
        doing: the action, a verb such as `write`, which the message places before the path.
        path: the path.
    """
    what, _, hint = _cause(error)
    return StoreError(f"Cannot {doing} {path}: {what}.", hint=hint)


def is_of_the_disk(error: OSError) -> bool:
    """Return True if the file system caused the error, False if the error may be a defect of the program."""
    return error.errno in _CAUSES


def cause_of(error: OSError) -> str:
    """Return the cause of an OSError in words, such as `the disk is full`."""
    return _cause(error)[0]


def _cause(error: OSError) -> tuple[str, str, str]:
    unknown = _same(error.strerror or str(error), "Next: run again once it is repaired")
    return unknown if error.errno is None else _CAUSES.get(error.errno, unknown)


@contextmanager
def convert_disk_errors(doing: str, path: Path | str, *, of_the_store: bool = True) -> Iterator[None]:
    """Convert an OSError in the `with` block to a StoreError.

    Args:
        doing: the action, a verb such as `write`, which the message places before the path.
        path: the path.
        of_the_store: True if the path is in the store. The hint may then name `gc`.

    Raises:
        StoreError: names the path, the cause and the next command.
    """
    try:
        yield
    except OSError as error:
        raise (store_error if of_the_store else place_error)(error, doing, path) from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add `path` to an OSError in the `with` block that names no file, such as an error of a write to an open file."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut. Do nothing on a file system that does not support this."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_directory(path: Path, *, durable: bool = True) -> None:
    """Make a directory with its parents. New directories in a directory that a group shares are shared too.

    Args:
        path: the directory.
        durable: make the names of the new directories survive a power cut.

    Raises:
        OSError: a directory cannot be made.
    """
    fresh = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in reversed(fresh):
        share(each)
        if durable:
            sync_directory(each.parent)


class NotRegular(ValueError):
    """Raised if a path leads to a FIFO, a device or a socket. Reading it could wait for ever."""


def open_regular(path: Path) -> FileIO:
    """Open a regular file for reading, without waiting if there is a FIFO or a device in its place.

    Raises:
        OSError: there is no such file, it is a directory, or it cannot be read.
        NotRegular: the path does not lead to a regular file.
    """
    file = FileIO(str(path), "rb", opener=_open_without_waiting)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotRegular("it is not a regular file")
    return file


def read_regular(path: Path, largest: int) -> bytes:
    """Return the content of a regular file, which must have at most `largest` bytes.

    Raises:
        OSError, NotRegular: see `open_regular`.
        ValueError: the file is larger.
    """
    with open_regular(path) as raw, BufferedReader(raw) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"it has more than {largest:,} bytes")
    return content


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def sync_file(path: Path) -> None:
    """Make the content of a file durable, so that it survives a power cut.

    Raises:
        OSError: the file cannot be read or synced.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_tree(directory: Path) -> None:
    """Make all files and names below a directory durable, so that they survive a power cut.

    The name of the directory itself is durable only after `sync_directory` of its parent.

    Raises:
        OSError: a file cannot be read or synced.
    """
    for path in directory.rglob("*"):
        if path.is_dir():
            sync_directory(path)
        elif path.is_file():
            sync_file(path)
    sync_directory(directory)


@contextmanager
def replacing(target: Path, scratch: Path | None = None, *, durable: bool = True) -> Iterator[BufferedWriter]:
    """Yield a new file that replaces `target` atomically when the `with` block ends.

    Readers see the old file or the whole new one.

    Args:
        target: the path of the file.
        scratch: a directory on the same file system for the unfinished file; None for the target's directory.
        durable: make the content and the name survive a power cut.

    Raises:
        OSError: the write failed, or the target is a directory. After any error, the target is unchanged.
        StoreError: the target is a device, a pipe or a socket.
    """
    scratch = target.parent if scratch is None else scratch
    make_directory(scratch, durable=False)
    make_directory(target.parent, durable=durable)
    temporary = scratch / f".{secrets.token_hex(8)}{TEMPORARY}"
    try:
        with naming(target), temporary.open("xb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        share(temporary)
        _check_replaceable(target)
        temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    if durable:
        sync_directory(target.parent)


def _check_replaceable(target: Path) -> None:
    """Refuse a target that is not a file: as root, a rename would replace even /dev/null for the whole system.

    Raises:
        StoreError: the target, or the end of a link there, is a device, a pipe or a socket.
        OSError: it is a directory.
    """
    try:
        mode = target.stat().st_mode
    except OSError:
        return  # it does not exist, or the write itself reports the reason
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not stat.S_ISREG(mode):
        raise StoreError(
            f"{target} is not a regular file, so it is not replaced.", hint="Next: name a file that does not exist yet."
        )


def write_atomic(target: Path, data: bytes, scratch: Path | None = None, *, durable: bool = True) -> None:
    """Replace the content of a file atomically: readers see the old content or the whole new one.

    Args:
        target: the path of the file.
        data: the new content.
        scratch: a directory on the same file system for the unfinished file; None for the target's directory.
        durable: make the content and the name survive a power cut.

    Raises:
        OSError: the write failed; the target is unchanged.
    """
    with replacing(target, scratch, durable=durable) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write text to a file atomically, but not durably. Bytes of file names that are not UTF-8 become escapes."""
    write_atomic(path, text.encode("utf-8", "backslashreplace"), durable=False)


def clock_of(directory: Path) -> float:
    """Return the present time in seconds by the clock of a directory's file system, which may differ from this host's.

    Raises:
        OSError: nothing can be written in the directory.
    """
    probe = directory / f"{secrets.token_hex(8)}.clock"
    with probe.open("xb"):
        pass
    try:
        return probe.stat().st_mtime
    finally:
        with suppress(OSError):
            probe.unlink()
