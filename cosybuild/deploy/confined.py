"""The confinement of a change to its directory: no step of a change, a journal or a backup follows a symbolic link.

A directory that comes from elsewhere can contain any journal and any symbolic links. Only real directories below the
root are entered, so nothing outside the root is written or removed. A file in service may be a link; a change replaces
the link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from cosybuild.directory_in_service import STATE, Journal
from cosybuild.errors import DeployError
from cosybuild.filename import is_plain_path
from cosybuild.printable import one_line

STAGING = "staging-"
"""The beginning of the name of every staging directory below STATE."""


def check_state(root: Path) -> None:
    """Raise an error if the deployment state contains anything but directories and regular files.

    Raises:
        DeployError: the state or something in it is a link, a pipe or the like.
    """
    state = root / STATE
    if not _is_directory(state):
        raise _refused(root, state)
    for folder, _, _ in os.walk(state):
        with os.scandir(folder) as entries:
            for entry in entries:
                if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
                    raise _refused(root, Path(entry.path))


def check_names(root: Path, names: Iterable[str]) -> None:
    """Raise an error for a name whose file would not be in a real directory below the root.

    Raises:
        DeployError: a name is not a plain path or is in the deployment state, or a directory on its path is a link or a
            file.
    """
    for name in names:
        parts = name.split("/")
        if not is_plain_path(name) or parts[0] == STATE:
            raise DeployError(
                f"{one_line(str(root))} is not changed: the change names {name!a}, which is not a file in service.",
                hint=_hint(root),
            )
        for depth in range(1, len(parts)):
            folder = root.joinpath(*parts[:depth])
            if not _is_directory(folder):
                raise _refused(root, folder)


def check_journal(root: Path, journal: Journal) -> None:
    """Raise an error if any step of the journal would leave the root or touch the state of another change.

    Raises:
        DeployError: see `check_names`; or the staging directory is not that of a deployment.
    """
    if not journal.staging.startswith(STAGING) or "/" in journal.staging:
        raise DeployError(
            f"{one_line(str(root))} is not changed: its journal names the staging directory {journal.staging!a}; "
            f"a name that begins with {STAGING} is expected.",
            hint=_hint(root),
        )
    check_names(root, (*journal.puts, *journal.removes))


def _is_directory(path: Path) -> bool:
    """Return True for a real directory, and for a path that does not exist yet."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return True


def _refused(root: Path, path: Path) -> DeployError:
    place = one_line(path.relative_to(root).as_posix())
    kind = "a symbolic link" if path.is_symlink() else "neither a directory nor a regular file in its place"
    return DeployError(
        f"{one_line(str(root))} is not changed: {place} in it is {kind}. A deployment enters real directories only, "
        f"because a link could lead out of the directory.",
        hint=_hint(root),
    )


def _hint(root: Path) -> str:
    return (
        f"Next: ls -l {root / STATE}; replace the link with a directory of its own, or, if the directory came from "
        f"elsewhere, remove {STATE} in it."
    )
