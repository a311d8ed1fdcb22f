"""The no-op certificate: proof that a command has nothing to do, checked without slow imports.

Composing the configuration alone takes most of the time that a command with nothing to do may take. So a
finished run records everything that its result depends on. While none of that has changed, the same command
repeats the run's last line and ends. A certificate only saves time: if in doubt, both when it is
written and when it is checked, a file counts as changed, and the build runs as usual.

A certificate depends on:
    the command line, the working directory, the interpreter and its import path, the environment variables
        except VOLATILE;
    files: size, mtime, ctime, inode, device; also that a file is absent. Programs cannot set the ctime, so
        the replacement of a file by one of the same size and mtime is detected too;
    every directory and symbolic link on the path to such a file: device and inode, and for a link also its
        target and ctime;
    directories: names and inodes of their entries (a reinstalled package has a new directory);
    the kernel's boot id and the driver's version (a GPU that was swapped).

The identity of a file is read twice: before the file is read, and when the certificate is written. Both
must be equal. This needs no clock, with one exception: a file that is written twice within one tick of the
file system's clock has the same times both times. So no certificate is written if a file changed within a
tick before the first look. The moment of that look is computed from the time that the file system gives to
a new file and from the time that has passed since, because the host's clock may differ from the file
system's. For small results, which the run has just written, the certificate has the sha256. For large ones it is
written only after the tick has passed.

Only json, os, stat, sys, time and hashlib are imported here, and nothing of cosybuild.
"""

# ruff: noqa: PTH103, PTH105, PTH108, PTH109, PTH110, PTH115, PTH116, PTH117, PTH118, PTH120, PTH123, PTH206 - pathlib alone takes longer to import than the whole check

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself takes longer to import than the check may
    from collections.abc import Iterable, Sequence
    from typing import Any

    PathLike = str | os.PathLike[str]

SCHEMA = 2

VOLATILE = frozenset(
    [
        *("SHLVL", "_", "OLDPWD", "WINDOWID", "COLUMNS", "LINES", "GPG_TTY", "STY", "VTE_VERSION", "XDG_SESSION_ID"),
        "HYDRA_FULL_ERROR",  # the build command sets it to receive the original exceptions
    ]
)
"""Environment variables that differ from one terminal to the next and change no build."""
VOLATILE_PREFIXES = ("TERM", "SSH_", "TMUX", "DBUS_", "PYTEST_")

UNLISTED = frozenset(["__pycache__", "outputs"])
"""Names left out of listings: byte code, which any import may add, and the directory that the first run makes
(`python -m` puts the working directory on the import path, so it is listed)."""

_KERNEL = ("/proc/sys/kernel/random/boot_id", "/proc/driver/nvidia/version")
# Nanoseconds, longer than a tick of any kernel's clock. The coarse tick is for file systems that keep whole
# seconds and for files stamped by another machine's clock.
_TICK = 50_000_000
_COARSE_TICK = 2_000_000_000
_SMALL = 1 << 20
_KEPT = 200
_LINKS = 40
"""The number of symbolic links on one path at which the kernel refuses the path."""


class Look:
    """The state, at one moment, of the files and directories that a run is about to read.

    Args:
        files: files to be read. For a missing file the certificate depends on its absence.
        directories: directories to be listed.
    """

    def __init__(self, files: Iterable[PathLike] = (), directories: Iterable[PathLike] = ()) -> None:
        self.at = time.monotonic_ns()
        self.setting = _setting()
        self.files = {path: _identity(_stat(path)) for path in map(_whole, files)}
        self.listings = {path: _listing(path) for path in map(_whole, directories)}
        self.places: dict[str, list[Any] | None] = {}
        for path in (*self.files, *self.listings):
            _walk(path, self.places)

    def changed(self) -> str | None:
        """Return the first path that has changed, or None."""
        for name, now in (
            *((name, _identity(_stat(name)) == was) for name, was in self.files.items()),
            *((name, _place(name) == was) for name, was in self.places.items()),
            *((name, _listing(name) == was) for name, was in self.listings.items()),
        ):
            if not now:
                return name
        return None


def write(
    directory: PathLike,
    argv: Sequence[str],
    message: str,
    looks: Sequence[Look],
    *,
    results: Iterable[PathLike] = (),
) -> str | None:
    """Certify that `argv` has nothing to do as long as nothing changes.

    Args:
        directory: the directory of the certificates.
        argv: the command line's overrides, in order.
        message: the line that the command prints when it has nothing to do.
        looks: each taken before the run read the files in it; the first one before the run read anything.
        results: files that the run itself has written, linked or checked (store, run directory).

    Returns:
        None, or the reason why there is no certificate: a file may have changed, or a disk error.
    """
    try:
        os.makedirs(directory, exist_ok=True)
        path = _path(directory, argv)
        beside = f"{path}.{os.getpid()}.new"
        try:
            with open(beside, "w", encoding="ascii") as file:
                stamp = os.fstat(file.fileno())  # a new file has the present time of the file system's clock
                now = time.monotonic_ns()
                certificate: dict[str, Any] = {"schema": SCHEMA, "message": message, "command line": list(argv)}
                certificate["setting"] = looks[0].setting
                certificate["kernel"] = {name: _digest(name) for name in _KERNEL}
                for part in ("directories", "places", "files"):
                    certificate[part] = {}
                for look in looks:
                    _hold_still(look, stamp, stamp.st_mtime_ns - (now - look.at))
                    certificate["directories"].update(look.listings)
                    certificate["places"].update(look.places)
                    certificate["files"].update({name: [identity, None] for name, identity in look.files.items()})
                certificate["files"].update(_certify_results(results, stamp))
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
    """Return the message of a certificate that is still valid, else None."""
    return examine(directory, argv)[0]


def examine(directory: PathLike, argv: Sequence[str]) -> tuple[str | None, str]:
    """Return the message of a certificate that is still valid, or None and the change that invalidates it."""
    try:
        with open(_path(directory, argv), encoding="ascii") as file:
            certificate = json.load(file)
        if certificate["schema"] != SCHEMA:
            return None, "another version of cosybuild wrote the certificate"
        moved = _moved(certificate, argv)
        return (str(certificate["message"]), "") if moved is None else (None, moved)
    except FileNotFoundError:
        return None, "there is no certificate"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"the certificate cannot be read: {error!r}"


class _Doubtful(Exception):
    """The result cannot be certified; the message says why."""


def _hold_still(look: Look, stamp: os.stat_result, moment: int) -> None:
    """Refuse a look if one of its paths changed after it, or one of its files within a tick before it.

    Args:
        stamp: the stat of a new file.
        moment: the time of the look by the file system's clock, in ns.

    Raises:
        _Doubtful: a path changed.
    """
    name = look.changed()
    if name is None:
        fresh = (name for name in look.files if _fresh(_stat(name), moment, stamp.st_dev))
        name = next(fresh, None)
    if name is not None:
        raise _Doubtful(f"{name} changed during the run")


def _certify_results(results: Iterable[PathLike], stamp: os.stat_result) -> dict[str, list[Any]]:
    """Return path -> [identity, digest]; the digest is None except for small files that were written just now."""
    certified: dict[str, list[Any]] = {}
    restless = []
    for name in map(_whole, results):
        found = _stat(name)
        certified[name] = [_identity(found), None]
        if found is None or not _fresh(found, stamp.st_mtime_ns, stamp.st_dev):
            continue
        if found.st_size <= _SMALL:
            certified[name][1] = _digest(name)
        else:
            restless.append(name)
    if restless:
        time.sleep(_TICK / 1e9)
    for name in restless:
        later = _stat(name)
        if _identity(later) != certified[name][0] or _fresh(later, stamp.st_mtime_ns + _TICK, stamp.st_dev):
            raise _Doubtful(f"{name} was written a moment ago")
    return certified


def _moved(certificate: Any, argv: Sequence[str]) -> str | None:
    if certificate["command line"] != list(argv):
        return "the command line changed"
    for name, value in _setting().items():
        if certificate["setting"][name] != value:
            return f"the {name} changed"
    for name, digest in certificate["kernel"].items():
        if _digest(name) != digest:
            return f"{name} changed"
    for name, (identity, digest) in certificate["files"].items():
        if _identity(_stat(name)) != identity or (digest is not None and _digest(name) != digest):
            return f"{name} changed"
    for name, place in certificate["places"].items():
        if _place(name) != place:
            return f"{name} changed"
    for name, listing in certificate["directories"].items():
        if _listing(name) != listing:
            return f"{name} changed"
    return None


def is_lasting(variable: str) -> bool:
    """Return True if certificates depend on this environment variable."""
    return variable not in VOLATILE and not variable.startswith(VOLATILE_PREFIXES)


def _setting() -> dict[str, Any]:
    lasting = sorted(f"{name}={value}" for name, value in os.environ.items() if is_lasting(name))
    return {
        "working directory": os.getcwd(),
        "interpreter": [sys.executable, sys.version, sys.prefix, *map(str, sys.flags), *map(str, sys.path)],
        "environment": hashlib.sha256("\0".join(lasting).encode(errors="surrogateescape")).hexdigest(),
    }


def _path(directory: PathLike, argv: Sequence[str]) -> str:
    name = hashlib.sha256(json.dumps([os.getcwd(), *argv]).encode()).hexdigest()
    return os.path.join(directory, f"{name[:32]}.json")


def _whole(path: PathLike) -> str:
    """Return the absolute path. `a/..` is kept, because `a` may be a symbolic link."""
    return os.path.join(os.getcwd(), os.fspath(path))


def _stat(path: str) -> os.stat_result | None:
    """Return the stat of a file; None if it does not exist or cannot be reached."""
    try:
        return os.stat(path)
    except OSError:
        return None


def _place(path: str) -> list[Any] | None:
    """Return the identity of a directory or symbolic link; None for anything else and for a missing path."""
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return [found.st_dev, found.st_ino, found.st_ctime_ns, os.readlink(path)]
    except OSError:
        return None
    return [found.st_dev, found.st_ino] if stat.S_ISDIR(found.st_mode) else None


def _walk(path: str, places: dict[str, list[Any] | None]) -> None:
    """Add to `places` every directory and symbolic link that the kernel passes when it resolves `path`."""
    ahead, here, links = path.split(os.sep)[::-1], os.sep, 0
    while ahead and links < _LINKS:
        name = ahead.pop()
        if name in ("", os.curdir):
            continue
        if name == os.pardir:
            here = os.path.dirname(here)
            continue
        step = os.path.join(here, name)
        if step not in places:
            places[step] = _place(step)
        found = places[step]
        if found is None:  # a file or a missing path, which the list of files covers
            if not ahead:
                del places[step]
            return
        if len(found) == 2:
            here = step
            continue
        links += 1
        ahead.extend(found[3].split(os.sep)[::-1])
        if os.path.isabs(found[3]):
            here = os.sep


def _identity(found: os.stat_result | None) -> list[int] | None:
    return None if found is None else [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def _fresh(found: os.stat_result | None, moment: int, device: int) -> bool:
    """Return True if the file may have changed after `moment`. The short tick is assumed for files on `device` only."""
    if found is None:
        return False
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    fine = found.st_dev == device and changed % 1_000_000 != 0
    return changed > moment - (_TICK if fine else _COARSE_TICK)


def _digest(path: str) -> str | None:
    """Return the sha256 of the content; None if there is no such file."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _listing(path: str) -> str | None:
    """Return a digest of names and inodes, without UNLISTED; None if the directory is missing or unreachable."""
    try:
        with os.scandir(path) as entries:
            lines = sorted(f"{entry.inode()} {entry.name}" for entry in entries if entry.name not in UNLISTED)
    except OSError:
        return None
    return hashlib.sha256("\0".join(lines).encode(errors="surrogateescape")).hexdigest()


def _prune(directory: PathLike) -> None:
    """Delete all but the newest certificates; they are cheap to write again."""
    with os.scandir(directory) as entries:
        aged = sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries if entry.name.endswith(".json"))
    for _, path in aged[:-_KEPT]:
        os.unlink(path)
