"""Proof that a command has nothing to do, checked without importing anything that is slow to import.

Composing the configuration alone costs most of what a command may take that has nothing to do. So a
finished run writes down everything its result rested on; while none of that has moved, the same command
may repeat the run's last line and end. A certificate only ever saves time: whatever is doubtful, when
written or when checked, counts as moved, and the ordinary path decides.

What it rests on:
    the command line, the working directory, the interpreter, the environment variables but VOLATILE;
    files: size, mtime, ctime, inode; also that a file is absent. ctime can not be set back, so a file
        that was replaced by one of the same size and mtime is noticed too;
    directories: names and inodes of what is in them (a reinstalled package has a new directory);
    the kernel's boot and driver (a GPU that was swapped).

A stat says nothing about a file that changed *while* the run was reading, or within one tick of the
file system's clock. The first is why a run takes a `Beginning` before it reads anything: a file that
changed after it withholds the certificate. The second concerns the results, which the run has just
written: small ones are certified by sha256, large ones after the tick has passed.

Only json, os, sys, time and hashlib are imported here, and nothing of cosybuild.
"""

# ruff: noqa: PTH103, PTH105, PTH108, PTH109, PTH110, PTH116, PTH118, PTH123 - pathlib alone takes longer to import than the whole check

from __future__ import annotations

import hashlib
import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself takes longer to import than the check may
    from collections.abc import Iterable, Sequence
    from typing import Any

    PathLike = str | os.PathLike[str]

SCHEMA = 1

VOLATILE = frozenset(
    [
        *("SHLVL", "_", "OLDPWD", "WINDOWID", "COLUMNS", "LINES", "GPG_TTY", "STY", "VTE_VERSION", "XDG_SESSION_ID"),
        "HYDRA_FULL_ERROR",  # the build command sets it, to get errors as they are
    ]
)
"""Environment variables that differ from one terminal to the next and change no build."""
VOLATILE_PREFIXES = ("TERM", "SSH_", "TMUX", "DBUS_", "PYTEST_")

UNLISTED = frozenset(["__pycache__", "outputs"])
"""Left out of listings: byte code, which any import may add, and what the first run in a directory makes there
(`python -m` puts the working directory on the import path, so it is listed)."""

_KERNEL = ("/proc/sys/kernel/random/boot_id", "/proc/driver/nvidia/version")
# Longer than a tick of any kernel's clock; where the file system keeps whole seconds, or another
# machine's clock stamps the files, two seconds.
_TICK = 50_000_000
_COARSE_TICK = 2_000_000_000
_SMALL = 1 << 20
_KEPT = 200


class Beginning:
    """The moment before a run reads anything, and what directories held then.

    Args:
        directories: those of the certificate that are known this early. Their listing may not have
            changed by the end of the run; of any other directory the time of its last change is asked.
    """

    def __init__(self, directories: Iterable[PathLike] = ()) -> None:
        self.at = time.time_ns()
        self.listings = {path: _listing(path) for path in map(os.path.abspath, directories)}


def write(
    directory: PathLike,
    argv: Sequence[str],
    message: str,
    files: Iterable[PathLike],
    directories: Iterable[PathLike],
    *,
    beginning: Beginning,
    results: Iterable[PathLike] = (),
) -> str | None:
    """Certify that `argv` has nothing to do as long as nothing moves.

    Args:
        directory: where certificates lie.
        argv: the command line's overrides, in order.
        message: what the command says when there is nothing to do.
        files: all that the decision was read from. Absent ones are certified to stay absent.
        directories: those whose content was listed.
        beginning: taken before any of these was read.
        results: files that the run itself has written, linked or checked (store, run directory).

    Returns:
        None, or why there is no certificate: something is doubtful, or the disk refuses.
    """
    try:
        os.makedirs(directory, exist_ok=True)
        path = _path(directory, argv)
        beside = f"{path}.{os.getpid()}.new"
        try:
            with open(beside, "w", encoding="ascii") as file:
                stamp = os.fstat(file.fileno())  # its time is the file system's own "now"
                certificate: dict[str, Any] = {"schema": SCHEMA, "message": message, "setting": _setting(argv)}
                certificate["kernel"] = {name: _digest(name) for name in _KERNEL}
                certificate["directories"] = _certify_directories(directories, beginning, stamp)
                certificate["files"] = _certify_files(files, results, beginning, stamp)
                json.dump(certificate, file)
            os.replace(beside, path)
        finally:
            if os.path.exists(beside):
                os.unlink(beside)
        _prune(directory)
    except (_Doubtful, OSError) as error:
        return str(error)
    return None


def check(directory: PathLike, argv: Sequence[str]) -> str | None:
    """The message of a certificate that still holds, else None."""
    return examine(directory, argv)[0]


def examine(directory: PathLike, argv: Sequence[str]) -> tuple[str | None, str]:
    """The message of a certificate that still holds, or None and what moved."""
    try:
        with open(_path(directory, argv), encoding="ascii") as file:
            certificate = json.load(file)
        if certificate["schema"] != SCHEMA:
            return None, "the certificate is of another version"
        moved = _moved(certificate, argv)
        return (str(certificate["message"]), "") if moved is None else (None, moved)
    except FileNotFoundError:
        return None, "there is no certificate"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"the certificate cannot be read: {error!r}"


class _Doubtful(Exception):
    """What can not be certified; the message says why."""


def _certify_directories(
    directories: Iterable[PathLike], beginning: Beginning, stamp: os.stat_result
) -> dict[str, str | None]:
    listings = {}
    for name in dict.fromkeys([*beginning.listings, *map(os.path.abspath, directories)]):
        listings[name] = _listing(name)
        if name in beginning.listings:
            changed = listings[name] != beginning.listings[name]
        else:
            changed = _fresh(_stat(name), beginning.at, stamp.st_dev)
        if changed:
            raise _Doubtful(f"{name} changed during the run")
    return listings


def _certify_files(
    files: Iterable[PathLike], results: Iterable[PathLike], beginning: Beginning, stamp: os.stat_result
) -> dict[str, list[Any]]:
    """Path -> identity and, for what was written just now, digest."""
    certified: dict[str, list[Any]] = {}
    for name in map(os.path.abspath, files):
        found = _stat(name)
        if _fresh(found, beginning.at, stamp.st_dev):
            raise _Doubtful(f"{name} changed during the run")
        certified[name] = [_identity(found), None]
    for name in map(os.path.abspath, results):
        certified[name] = _certify_result(name, stamp)
    return certified


def _moved(certificate: Any, argv: Sequence[str]) -> str | None:
    for name, value in _setting(argv).items():
        if certificate["setting"][name] != value:
            return f"the {name} changed"
    for name, digest in certificate["kernel"].items():
        if _digest(name) != digest:
            return f"{name} changed"
    for name, (identity, digest) in certificate["files"].items():
        if _identity(_stat(name)) != identity or (digest is not None and _digest(name) != digest):
            return f"{name} changed"
    for name, listing in certificate["directories"].items():
        if _listing(name) != listing:
            return f"{name} changed"
    return None


def _setting(argv: Sequence[str]) -> dict[str, Any]:
    lasting = sorted(
        f"{name}={value}"
        for name, value in os.environ.items()
        if name not in VOLATILE and not name.startswith(VOLATILE_PREFIXES)
    )
    return {
        "command line": list(argv),
        "working directory": os.getcwd(),
        "interpreter": [sys.executable, sys.version, sys.prefix, *map(str, sys.flags)],
        "environment": hashlib.sha256("\0".join(lasting).encode(errors="surrogateescape")).hexdigest(),
    }


def _path(directory: PathLike, argv: Sequence[str]) -> str:
    name = hashlib.sha256(json.dumps([os.getcwd(), *argv]).encode()).hexdigest()
    return os.path.join(directory, f"{name[:32]}.json")


def _stat(path: str) -> os.stat_result | None:
    """None where there is no such file, or no way to it."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _identity(found: os.stat_result | None) -> list[int] | None:
    return None if found is None else [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def _fresh(found: os.stat_result | None, moment: int, device: int) -> bool:
    """Whether the file may have changed after `moment`. `device`: where our own clock is trusted."""
    if found is None:
        return False
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    fine = found.st_dev == device and changed % 1_000_000 != 0
    return changed > moment - (_TICK if fine else _COARSE_TICK)


def _certify_result(path: str, stamp: os.stat_result) -> list[Any]:
    found = _stat(path)
    if found is None or not _fresh(found, stamp.st_mtime_ns, stamp.st_dev):
        return [_identity(found), None]
    if found.st_size <= _SMALL:
        return [_identity(found), _digest(path)]
    time.sleep(_TICK / 1e9)
    later = _stat(path)
    if _identity(later) != _identity(found) or _fresh(later, time.time_ns(), stamp.st_dev):
        raise _Doubtful(f"{path} was written a moment ago")
    return [_identity(found), None]


def _digest(path: str) -> str | None:
    """sha256 of the content; None where there is no such file."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _listing(path: str) -> str | None:
    """Digest of names and inodes, without UNLISTED; None if absent."""
    try:
        with os.scandir(path) as entries:
            lines = sorted(f"{entry.inode()} {entry.name}" for entry in entries if entry.name not in UNLISTED)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return hashlib.sha256("\0".join(lines).encode(errors="surrogateescape")).hexdigest()


def _prune(directory: PathLike) -> None:
    """Keep the newest certificates only; they are cheap to make again."""
    with os.scandir(directory) as entries:
        aged = sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries if entry.name.endswith(".json"))
    for _, path in aged[:-_KEPT]:
        os.unlink(path)
