"""The check of a whole store: read every file again and move damaged files to the quarantine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cosybuild.store.entry import DamagedEntry
from cosybuild.store.store import Store
from cosybuild.system.files import convert_disk_errors


@dataclass(frozen=True)
class Fault:
    """One damaged or missing file of the store.

    Attributes:
        path: the path of the file in the store.
        what: the fault, as a phrase that follows the path.
        stages: the stages whose stored results the fault makes unusable. Their steps are built again when they are
            needed.
        moved_to: the path of the file in the quarantine; None if the file is missing or was not moved.
    """

    path: Path
    what: str
    stages: tuple[str, ...]
    moved_to: Path | None


@dataclass(frozen=True)
class Checkup:
    """The outcome of `check`.

    Attributes:
        entries: the number of entries.
        objects: the number of stored files.
        size: the size of all stored files in bytes.
        faults: the damaged and missing files.
    """

    entries: int
    objects: int
    size: int
    faults: tuple[Fault, ...]


def check(
    store: Store,
    *,
    repair: bool = True,
    thorough: bool = True,
    on_object: Callable[[Path], None] = lambda path: None,
) -> Checkup:
    """Read every entry and every stored file of a store.

    Args:
        store: the store.
        repair: move damaged files to the quarantine, so that they are built again when they are needed. If False,
            damaged files stay, and a build does not notice damage that left the times of a file unchanged.
        thorough: read every file, even if its digest is in the digest cache. If False, check sizes and seals (see
            `objects.seal_of`), as builds do, and read only files without a seal.
        on_object: called with the path of each stored file before the file is read.

    Raises:
        StoreError: the store cannot be read, or a damaged file could not be moved.
    """
    users: dict[str, set[str]] = {}
    sizes: dict[str, int] = {}
    faults = []
    entries = 0
    with convert_disk_errors("check the store", store.path):
        for path in store.entry_files.paths():
            entries += 1
            try:
                entry = store.entry_files.read(path)
            except DamagedEntry as error:
                moved = store.entry_files.set_aside(path) if repair else None
                faults.append(Fault(path, str(error), (path.parent.name,), moved))
                continue
            if entry is None:  # another process has removed it
                continue
            for file in entry.files:
                users.setdefault(file.digest, set()).add(entry.key.stage)
                sizes[file.digest] = file.size
        present = {digest: stat.st_size for digest, stat in store.objects}
        for digest in sorted(present.keys() | users.keys()):
            on_object(path := store.objects.locate(digest))
            fault = store.objects.fault(digest, sizes.get(digest), thorough=thorough)
            if fault is not None:
                size = sizes.get(digest)
                moved = store.objects.set_aside(digest, size, thorough=thorough) if repair else None
                faults.append(Fault(path, fault, tuple(sorted(users.get(digest, ()))), moved))
    return Checkup(entries, len(present), sum(present.values()), tuple(faults))
