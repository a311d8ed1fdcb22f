"""The state of files, directories, symbolic links and the process at one moment, for certificates.

Only os, stat, sys, time and hashlib are imported here.
"""

# ruff: noqa: PTH109, PTH115, PTH116, PTH117, PTH118, PTH120, PTH123, PTH206 - pathlib alone takes longer to import than the whole check

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself takes longer to import than the check may
    from collections.abc import Iterable
    from typing import Any

    PathLike = str | os.PathLike[str]

VOLATILE = frozenset(
    [
        *("SHLVL", "_", "OLDPWD", "WINDOWID", "COLUMNS", "LINES", "GPG_TTY", "STY", "VTE_VERSION", "XDG_SESSION_ID"),
        "HYDRA_FULL_ERROR",  # the build command sets it to receive the original exceptions
    ]
)
"""Environment variables that differ from one terminal to the next and change no build."""
VOLATILE_PREFIXES = ("TERM", "SSH_", "TMUX", "DBUS_", "PYTEST_")

UNLISTED = frozenset(["__pycache__", "outputs"])
"""Names that are left out of directory listings.

`__pycache__` is left out because any import may add byte code. `outputs` is left out because the first run makes it in
the working directory, which `python -m` puts on the import path.
"""

_LINKS = 40
"""The number of symbolic links on one path at which the kernel refuses the path."""


class Look:
    """The state, at one moment, of the files and directories that a run is about to read.

    Args:
        files: the files whose identity is recorded. For a missing file, its absence is recorded.
        directories: the directories whose listing is recorded.
    """

    def __init__(self, files: Iterable[PathLike] = (), directories: Iterable[PathLike] = ()) -> None:
        self.at = time.monotonic_ns()
        self.setting = setting_now()
        self.files = {path: identity_of(stat_of(path)) for path in map(absolute, files)}
        self.listings = {path: listing_of(path) for path in map(absolute, directories)}
        self.places: dict[str, list[Any] | None] = {}
        for path in (*self.files, *self.listings):
            _walk(path, self.places)

    def changed(self) -> str | None:
        """Return the first path whose state now differs from the recorded one; None if there is no such path."""
        for name, now in (
            *((name, identity_of(stat_of(name)) == was) for name, was in self.files.items()),
            *((name, place_of(name) == was) for name, was in self.places.items()),
            *((name, listing_of(name) == was) for name, was in self.listings.items()),
        ):
            if not now:
                return name
        return None


def is_covered(variable: str) -> bool:
    """Return True if a change of this environment variable invalidates a certificate, False for the volatile ones."""
    return variable not in VOLATILE and not variable.startswith(VOLATILE_PREFIXES)


def setting_now() -> dict[str, str | list[str]]:
    """Return the working directory, the interpreter, and a digest of the covered environment variables."""
    covered = sorted(f"{name}={value}" for name, value in os.environ.items() if is_covered(name))
    return {
        "working directory": os.getcwd(),
        "interpreter": [sys.executable, sys.version, sys.prefix, *map(str, sys.flags), *map(str, sys.path)],
        "environment": hashlib.sha256("\0".join(covered).encode(errors="surrogateescape")).hexdigest(),
    }


def absolute(path: PathLike) -> str:
    """Return the absolute path. Do not shorten `a/..`, because `a` may be a symbolic link."""
    return os.path.join(os.getcwd(), os.fspath(path))


def stat_of(path: str) -> os.stat_result | None:
    """Return the stat of a file; None if it does not exist or cannot be reached."""
    try:
        return os.stat(path)
    except OSError:
        return None


def place_of(path: str) -> list[Any] | None:
    """Return the identity of a directory ([device, inode]) or symbolic link ([device, inode, ctime in ns, target]).

    Return None for anything else and for a missing path.
    """
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
            places[step] = place_of(step)
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


def identity_of(found: os.stat_result | None) -> list[int] | None:
    """Return the parts of a stat that change when a file is replaced or written; None if there is no file."""
    return None if found is None else [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def content_digest(path: str) -> str | None:
    """Return the sha256 of the content of a file as hexadecimal digits; None if there is no such file."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None


def listing_of(path: str) -> str | None:
    """Return a digest of the names and inodes in a directory, except those of UNLISTED; None if it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            lines = sorted(f"{entry.inode()} {entry.name}" for entry in entries if entry.name not in UNLISTED)
    except OSError:
        return None
    return hashlib.sha256("\0".join(lines).encode(errors="surrogateescape")).hexdigest()
