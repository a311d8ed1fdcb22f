"""Modes of a store that a group shares, whatever the umask of its members, as git's core.sharedRepository.

A directory is shared if its group may write it and its setgid bit is set. What is made in it then gets the
group's rights too, so that only the store's own directory has to be opened to the group, once.
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
    """Whether what is made in a directory is for its group; False where there is none."""
    try:
        return directory.stat().st_mode & _SHARED == _SHARED
    except OSError:
        return False


def share(path: Path) -> None:
    """Give the group its rights on a new file or directory, if the directory above is shared."""
    if not is_shared(path.parent):
        return
    with suppress(OSError):  # it is another user's, who shares it
        mode = modes.S_IMODE(path.stat().st_mode)
        path.chmod(mode | _wanted(path, mode))


def open_to_group(directory: Path) -> None:
    """Make a directory, if need be, and share it with its group; another user's is left as it is.

    Raises:
        OSError: it cannot be made.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not is_shared(directory):
        with suppress(OSError):  # who may only read the store needs no more
            directory.chmod(modes.S_IMODE(directory.stat().st_mode) | _DIRECTORY)


def unshared(directory: Path) -> Iterator[Path]:
    """What lies in a shared directory and lacks the group's rights; what is being made is left out."""
    for home, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if name not in ("tmp", "locks")]
        for name in (*directories, *files):
            path = Path(home, name)
            with suppress(OSError):
                mode = path.lstat().st_mode
                if not modes.S_ISLNK(mode) and mode & _wanted(path, mode) != _wanted(path, mode):
                    yield path


def commands(directory: Path) -> str:
    """What opens a directory and all that is in it to a group."""
    place = shlex.quote(str(directory))
    return f"chgrp -R GROUP {place} && chmod -R g+rwX {place} && find {place} -type d -exec chmod g+s {{}} +"


def _wanted(path: Path, mode: int) -> int:
    """The group's bits: of a directory all, of a file reading, and writing where the owner may write it."""
    if path.is_dir():
        return _DIRECTORY
    return modes.S_IRGRP | (modes.S_IWGRP if mode & modes.S_IWUSR else 0)
