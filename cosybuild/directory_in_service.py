"""A directory in service as its readers see it, even while a deployment changes it. Standard library only.

A deployment stages its files, writes a journal, and then puts one file after the other in place. The change takes
effect with the journal: while it exists, readers take the staged files and ignore the removed ones. So a reader never
sees a part of a change, and needs no permission to write.
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
"""The directory below one in service that holds backups and the state of changes."""
JOURNAL, CURRENT = "journal.json", "current.json"
LARGEST = 16 * 2**20
"""Largest size in bytes of a record that is read from STATE; a deployment's records have a few thousand."""
MOST_BACKUPS = 10**9 - 1
"""The largest number of a backup."""


@dataclass(frozen=True)
class Journal:
    """The journal of a change that has begun.

    Attributes:
        number: the number of the backup that undoes the change.
        staging: the name of the directory below STATE that holds the new files.
        puts: name below the root -> sha256, in the order in which the files are put in place.
        removes: names that are removed after all puts.
        position: the number of the backup that holds the directory's state after the change; 0 for a new state.
        files: name -> sha256 of all files of deployments after the change.
        discards: True if the backup is not kept, because the change undoes the deployment that made it.
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
        token: the contents of the journal and of the current state. Two views have equal tokens if no deployment
            happened between them.
        folder: the directory below the root whose files are seen, with `/` as separator; an empty text for the root.
    """

    root: Path
    journal: Journal | None
    token: tuple[bytes | None, bytes | None] = field(default=(None, None))
    folder: str = ""

    @property
    def place(self) -> Path:
        """The directory whose files are seen."""
        return self.root / self.folder

    def below(self, folder: str) -> View:
        """Return the view of a directory below the root, such as the version of a Triton model."""
        return replace(self, folder=folder)

    def path_of(self, name: str) -> Path | None:
        """Return the path of the file with this name in the directory; None if there is none."""
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
        """Return name -> path of every file of the directory itself, ordered by name."""
        folder = self.place
        # A folder that is new with the change need not exist yet.
        is_new = bool(self.folder) and not folder.is_dir()
        names = set() if is_new else {path.name for path in folder.iterdir() if path.is_file()}
        if self.journal is not None:
            # A file that is new with the change is staged only.
            names |= {name.rpartition("/")[2] for name in self.journal.puts if name.rpartition("/")[0] == self.folder}
        return {name: path for name in sorted(names) if (path := self.path_of(name)) is not None}


def read_state(path: Path) -> bytes:
    """Return the content of a file of the state; a FIFO or a device in its place does not block.

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
    """Return the present view of a directory.

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
    """Return the number of a backup.

    Raises:
        ValueError: the value is not a whole number from 0 to MOST_BACKUPS.
    """
    if type(value) is not int or not 0 <= value <= MOST_BACKUPS:
        raise ValueError(f"{value!a:.40} is not the number of a backup")
    return value


def journal_from(content: bytes, path: Path) -> Journal:
    """Parse a journal.

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
