"""The file modes of a store that a group shares, independent of its members' umasks, like git's core.sharedRepository.

A directory is shared if its group may write to it and its setgid bit is set. Files and directories that are made in it
get the group's rights too. So only the store's own directory has to be opened to the group, once.
"""

from __future__ import annotations

import os
import shlex
import stat as modes
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_SHARED = modes.S_ISGID | modes.S_IWGRP
_DIRECTORY = modes.S_ISGID | modes.S_IRWXG


def is_shared(directory: Path) -> bool:
    """Return True if a directory is shared with its group, False if it is not or does not exist."""
    try:
        return directory.stat().st_mode & _SHARED == _SHARED
    except OSError:
        return False


def share(path: Path) -> None:
    """Give the group its rights on a new file or directory, if the parent directory is shared."""
    if not is_shared(path.parent):
        return
    with suppress(OSError):  # it belongs to another user, whose own process shares it
        mode = modes.S_IMODE(path.stat().st_mode)
        path.chmod(mode | _wanted(path, mode))


def open_to_group(directory: Path) -> None:
    """Make a directory if it does not exist, and share it with its group. A directory of another user is not changed.

    Raises:
        OSError: the directory cannot be made.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not is_shared(directory):
        with suppress(OSError):  # a user with read access only needs no change
            directory.chmod(modes.S_IMODE(directory.stat().st_mode) | _DIRECTORY)


def unshared_paths(directory: Path) -> Iterator[Path]:
    """Yield the paths below a shared directory on which the group lacks rights, except those in `tmp` and `locks`."""
    for home, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if name not in ("tmp", "locks")]
        for name in (*directories, *files):
            path = Path(home, name)
            with suppress(OSError):
                mode = path.lstat().st_mode
                if not modes.S_ISLNK(mode) and mode & _wanted(path, mode) != _wanted(path, mode):
                    yield path


def share_commands(directory: Path) -> str:
    """Return the shell commands that share a directory, and everything in it, with a group."""
    place = shlex.quote(str(directory))
    return f"chgrp -R GROUP {place} && chmod -R g+rwX {place} && find {place} -type d -exec chmod g+s {{}} +"


def _wanted(path: Path, mode: int) -> int:
    """Return the mode bits of the group that a path should have.

    A directory needs all of them. A file needs the right to read and, if its owner may write it, the right to write.
    """
    if path.is_dir():
        return _DIRECTORY
    return modes.S_IRGRP | (modes.S_IWGRP if mode & modes.S_IWUSR else 0)
