"""The inventory of a store: its results and sizes, for `store ls` and `doctor`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cosybuild.store.entry import Entry
from cosybuild.store.store import Store
from cosybuild.system.files import convert_disk_errors


@dataclass(frozen=True)
class Row:
    """One stored result, and the time of its last use in seconds since the epoch."""

    entry: Entry
    used: float


@dataclass(frozen=True)
class Inventory:
    """The content of a store.

    Attributes:
        rows: the complete results, most recently used first.
        contents: the number of stored files. Several results can refer to one file.
        size: the size of the stored files in bytes.
        quarantined: the size of the damaged files in the quarantine, in bytes.
        working: the size of the working directories of running and of killed builds, in bytes.
    """

    rows: tuple[Row, ...]
    contents: int
    size: int
    quarantined: int
    working: int


def take_inventory(store: Store) -> Inventory:
    """List the content of a store. Read its entries, but not its stored files.

    Raises:
        StoreError: the store cannot be read.
    """
    with convert_disk_errors("list the store", store.path):
        rows = []
        for entry in store.entries():
            with suppress(FileNotFoundError):
                used = store.entry_path(entry.key.stage, entry.key.digest).stat().st_mtime
                rows.append(Row(entry, used))
        rows.sort(key=lambda row: row.used, reverse=True)
        sizes = [stat.st_size for _, stat in store.objects]
        return Inventory(
            tuple(rows), len(sizes), sum(sizes), _size_of(store.layout.quarantine), _size_of(store.layout.tmp)
        )


def _size_of(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):
            stat = path.lstat()
            total += 0 if path.is_dir() else stat.st_size
    return total
