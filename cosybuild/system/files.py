"""Atomic and durable writes, and one clear error for each failure of the disk."""

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
"""The suffix of a file that `replacing` has not finished; only a killed process leaves one."""

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
"""errno -> the cause, the next command for a path of the store, and the next command for another path."""


def store_error(error: OSError, doing: str, path: Path | str) -> StoreError:
    """Return the error for the user if an OSError occurred with a path of the store; `doing` names the action."""
    what, hint, _ = _cause(error)
    return StoreError(f"Cannot {doing} {path}: {what}. No incomplete file was left.", hint=hint)


def place_error(error: OSError, doing: str, path: Path | str) -> StoreError:
    """Return the error for an OSError with a path outside the store, for which the hint does not name `gc`."""
    what, _, hint = _cause(error)
    return StoreError(f"Cannot {doing} {path}: {what}.", hint=hint)


def is_of_the_disk(error: OSError) -> bool:
    """Return True if the file system, not a defect of the program, caused an error."""
    return error.errno in _CAUSES


def cause_of(error: OSError) -> str:
    """Return the cause of an error in words."""
    return _cause(error)[0]


def _cause(error: OSError) -> tuple[str, str, str]:
    unknown = _same(error.strerror or str(error), "Next: run again once it is repaired")
    return unknown if error.errno is None else _CAUSES.get(error.errno, unknown)


@contextmanager
def convert_disk_errors(doing: str, path: Path | str, *, of_the_store: bool = True) -> Iterator[None]:
    """Turn an OSError of the `with` block into a StoreError.

    Args:
        of_the_store: the path lies in the store.

    Raises:
        StoreError: names the path, the cause and the next command.
    """
    try:
        yield
    except OSError as error:
        raise (store_error if of_the_store else place_error)(error, doing, path) from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add `path` to an OSError of the `with` block that names no file, such as one from a write to an open file."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut; ignore file systems that cannot do this."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_directory(path: Path, *, durable: bool = True) -> None:
    """Make a directory with its parents; a new one in a directory shared with a group is shared too.

    Args:
        durable: make their names survive a power cut.

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
    """A FIFO, a device or a socket is in the place of a file; reading it could wait for ever."""


def open_regular(path: Path) -> FileIO:
    """Open a regular file for reading. A FIFO or a device in its place does not block.

    Raises:
        OSError: there is no such file, it is a directory, or it cannot be read.
        NotRegular: there is no regular file at that path.
    """
    file = FileIO(str(path), "rb", opener=_open_without_waiting)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotRegular("it is not a regular file")
    return file


def read_regular(path: Path, largest: int) -> bytes:
    """Return the content of a regular file of at most `largest` bytes.

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
    """Make a file's content survive a power cut.

    Raises:
        OSError: the file cannot be read or synced.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_tree(directory: Path) -> None:
    """Sync all files and names below a directory, so that they survive a power cut; sync the parent for its own name.

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
    """Yield a new file that replaces `target` when the `with` block ends; readers see the old or the whole new file.

    Args:
        scratch: a directory on the same file system for the unfinished file; None: the target's directory.
        durable: make the content and the name survive a power cut.

    Raises:
        OSError: the write failed. After this and any other error the target is unchanged.
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
        temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    if durable:
        sync_directory(target.parent)


def write_atomic(target: Path, data: bytes, scratch: Path | None = None, *, durable: bool = True) -> None:
    """Replace the file `target` by `data` atomically; the parameters and errors are those of `replacing`."""
    with replacing(target, scratch, durable=durable) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write text atomically, not durably; bytes of paths that are no UTF-8 are escaped and do not prevent the write."""
    write_atomic(path, text.encode("utf-8", "backslashreplace"), durable=False)


def clock_of(directory: Path) -> float:
    """Return the present time in seconds by the clock of `directory`'s file system, which may differ from ours.

    Raises:
        OSError: nothing can be written there.
    """
    probe = directory / f"{secrets.token_hex(8)}.clock"
    with probe.open("xb"):
        pass
    try:
        return probe.stat().st_mtime
    finally:
        with suppress(OSError):
            probe.unlink()
