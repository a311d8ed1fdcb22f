"""The entry files of a store: their paths, a look for damage, and their removal to the quarantine."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cosybuild.store.entry import DamagedEntry, Entry, check_stage, decode
from cosybuild.store.layout import Layout
from cosybuild.store.objects import Objects
from cosybuild.system.files import make_directory


class EntryFiles:
    """One file for each stored result, at `STAGE/KEY.json` in the directory of the entries.

    Args:
        layout: the directories of the store.
        objects: the stored files to which entries refer.
    """

    def __init__(self, layout: Layout, objects: Objects) -> None:
        self._layout, self._objects = layout, objects

    def path(self, stage: str, key_digest: str) -> Path:
        """Return the path of the entry of a key; the file need not exist.

        Raises:
            ConfigurationError: the stage is not a plain file name. It may come from a record of another machine.
        """
        check_stage(stage)
        return self._layout.entries / stage / f"{key_digest}.json"

    def paths(self) -> Iterator[Path]:
        """Yield the path of every entry, ordered by stage and key."""
        yield from sorted(self._layout.entries.glob("*/*.json"))

    def read(self, path: Path) -> Entry | None:
        """Return the entry in a file; None if the file does not exist.

        Raises:
            DamagedEntry: the file cannot be read or does not hold the entry of the key in its name.
        """
        try:
            return decode(path.read_bytes(), path.stem, self._objects.locate)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedEntry(f"cannot be read ({error})") from error

    def examine(self, path: Path, *, thorough: bool) -> tuple[Entry | None, str | None]:
        """Return an entry and the fault of the entry or of one of its files, as a phrase.

        The entry is None if it is missing or damaged. The fault is None if there is no entry, or if nothing is damaged.

        Args:
            path: the file of the entry.
            thorough: read every stored file of the entry, not only its size and seal (see `objects.seal_of`).
        """
        try:
            entry = self.read(path)
        except DamagedEntry as error:
            return None, f"the entry {path} {error}"
        for file in () if entry is None else entry.files:
            if (fault := self._objects.fault(file.digest, file.size, thorough=thorough)) is not None:
                return entry, f"{file.name} ({file.path}) {fault}"
        return entry, None

    def set_aside(self, path: Path) -> Path | None:
        """Move the file of an entry to the quarantine and return its new path; None if the file does not exist.

        Raises:
            OSError: the file cannot be moved.
        """
        make_directory(self._layout.quarantine)
        target = self._layout.quarantine / f"{path.name}.{secrets.token_hex(4)}"
        with suppress(FileNotFoundError):
            path.rename(target)
            return target
        return None
