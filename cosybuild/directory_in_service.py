"""Read the files of a directory in service, even while a deployment changes it. Standard library only.

A deployment stages its new files, writes a journal, puts one file after the other in place, and deletes the journal.
While the journal exists, readers use the staged files and ignore the removed files. The whole change therefore becomes
visible at the moment when the journal is written, and a reader never sees a part of it. Readers need no permission to
write.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from stat import S_ISREG

from cosybuild.filename import is_plain_path

STATE = ".cosybuild-backup"
"""The name of the directory, inside a directory in service, for backups, staged files, the journal and records."""
JOURNAL, CURRENT = "journal.json", "current.json"
"""The names in STATE of the journal, and of the record of the present state."""
LARGEST = 16 * 2**20
"""The largest permitted size, in bytes, of a record in STATE; usual records have a few thousand."""
MOST_BACKUPS = 10**9 - 1
"""The largest number of a backup."""


@dataclass(frozen=True)
class Journal:
    """The journal of a change that has begun and is not yet complete.

    Names of files are paths relative to the directory in service.

    Attributes:
        number: the number of the backup from which the change can be undone.
        staging: the name of the directory in STATE with the new files.
        puts: name -> sha256 of the new files, in the order in which they are put in place.
        removes: names of the files that are removed after all new files are in place.
        position: the number of the backup that has the directory's state after the change; 0 if the state is new.
        files: name -> sha256 of all deployed files after the change.
        discards: True if the backup is deleted, because the change undoes the deployment that made it.
        links: name -> target of a symbolic link. The link replaces the restored file if its target has the same
            content.
    """

    number: int
    staging: str
    puts: Mapping[str, str]
    removes: tuple[str, ...]
    position: int
    files: Mapping[str, str]
    discards: bool = False
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """The files of a directory in service at one moment.

    Attributes:
        root: the directory in service.
        journal: the journal of an incomplete change; None if there is none.
        token: the contents of the files JOURNAL and CURRENT, None for a missing file. Two views have equal tokens if no
            deployment happened between them.
        folder: the directory inside `root` that the view shows, with `/` as separator; empty for `root` itself.
    """

    root: Path
    journal: Journal | None
    token: tuple[bytes | None, bytes | None] = field(default=(None, None))
    folder: str = ""

    @property
    def place(self) -> Path:
        """The path of the directory that the view shows."""
        return self.root / self.folder

    def below(self, folder: str) -> View:
        """Return the same view for the directory `folder` inside `root`, such as a version of a Triton model."""
        return replace(self, folder=folder)

    def path_of(self, name: str) -> Path | None:
        """Return the path at which the content of the file `name` is at present; None if there is no such file."""
        name = f"{self.folder}/{name}" if self.folder else name
        if self.journal is not None:
            if name in self.journal.removes:
                return None
            staged = self.root / STATE / self.journal.staging / name
            if name in self.journal.puts and staged.is_file():
                return staged
        path = self.root / name
        return path if path.is_file() else None

    def files(self) -> dict[str, Path]:
        """Return name -> path of every file directly in the directory that the view shows, ordered by name."""
        folder = self.place
        # A directory that the change creates may not exist yet.
        is_new = bool(self.folder) and not folder.is_dir()
        names = set() if is_new else {path.name for path in folder.iterdir() if path.is_file()}
        if self.journal is not None:
            # A file that the change adds may only be staged.
            names |= {name.rpartition("/")[2] for name in self.journal.puts if name.rpartition("/")[0] == self.folder}
        return {name: path for name in sorted(names) if (path := self.path_of(name)) is not None}


def read_state(path: Path) -> bytes:
    """Return the content of a file in STATE. The function does not block if the path is a FIFO or a device.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: the file is not a regular file, or has more than LARGEST bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path} is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"{path} has more than {LARGEST:,} bytes")
        return content


def view_of(root: Path) -> View:
    """Return the present view of a directory in service.

    Args:
        root: the directory.

    Raises:
        ValueError: the journal is damaged, or a record is not a regular file.
        OSError: the directory cannot be read.
    """
    contents: list[bytes | None] = [None, None]
    for index, name in enumerate((JOURNAL, CURRENT)):
        with suppress(OSError):  # a reader without access to the state sees the files of the directory only
            contents[index] = read_state(root / STATE / name)
    journal = None if contents[0] is None else journal_from(contents[0], root / STATE / JOURNAL)
    return View(root, journal, (contents[0], contents[1]))


def _number(value: object) -> int:
    """Check that a value is the number of a backup, and return it.

    Raises:
        ValueError: the value is not an integer from 0 to MOST_BACKUPS.
    """
    if type(value) is not int or not 0 <= value <= MOST_BACKUPS:
        raise ValueError(f"{value!a:.40} is not the number of a backup")
    return value


def journal_from(content: bytes, path: Path) -> Journal:
    """Parse a journal.

    Args:
        content: the content of the file.
        path: its path, for error messages.

    Raises:
        ValueError: `content` is not a journal, or a name in it leads out of the directory.
    """
    try:
        plain = json.loads(content.decode("utf-8"))
        journal = Journal(
            number=_number(plain["number"]),
            staging=str(plain["staging"]),
            puts={str(name): str(digest) for name, digest in plain["puts"].items()},
            removes=tuple(map(str, plain["removes"])),
            position=_number(plain["position"]),
            files={str(name): str(digest) for name, digest in plain["files"].items()},
            discards=bool(plain["discards"]),
            # Earlier releases did not record links.
            links={str(name): str(text) for name, text in plain.get("links", {}).items()},
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a journal of a deployment: {type(error).__name__}: {error}") from error
    for name in (journal.staging, *journal.puts, *journal.removes, *journal.files):
        if not is_plain_path(name):
            raise ValueError(f"{path} names {name!a}, which is outside the directory")
    return journal
