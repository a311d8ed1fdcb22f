"""Reading the whole store, which finds what no size and no time shows, and moving it out of the way."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cosybuild.core.disk import explained, make_directory
from cosybuild.core.entry import DamagedEntry, decode
from cosybuild.core.store import Store


@dataclass(frozen=True)
class Fault:
    """One damaged or missing part.

    Attributes:
        path: where it lies, or should lie.
        what: what is wrong, a phrase after the path.
        stages: whose stored results it spoils; they are built again when they are asked for.
        moved_to: its place in the quarantine; None where it is missing, or was left where it is.
    """

    path: Path
    what: str
    stages: tuple[str, ...]
    moved_to: Path | None


@dataclass(frozen=True)
class Checkup:
    """The outcome of `check`: how much was read, and what is wrong."""

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
    """Read every entry and every content of a store.

    Args:
        store: the whole of it is read, whatever the memo says.
        repair: move what is damaged to the quarantine, so that it is built again when it is asked for.
            Without this, damage that left the times alone stays unseen by builds.
        thorough: False looks at sizes and seals only, as builds do, and reads what carries none.
        on_object: called before each content is read.

    Raises:
        StoreError: the store cannot be read, or something could not be moved.
    """
    users: dict[str, set[str]] = {}
    sizes: dict[str, int] = {}
    faults = []
    entries = 0
    with explained("check the store", store.path):
        for path in store.entry_paths():
            entries += 1
            try:
                entry = decode(path.read_bytes(), path.stem, store.objects.locate)
            except FileNotFoundError:
                continue
            except (OSError, DamagedEntry) as error:
                what = str(error) if isinstance(error, DamagedEntry) else f"cannot be read ({error})"
                faults.append(Fault(path, what, (path.parent.name,), _set_aside(store, path) if repair else None))
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


def _set_aside(store: Store, path: Path) -> Path | None:
    make_directory(store.layout.quarantine)
    target = store.layout.quarantine / f"{path.name}.{secrets.token_hex(4)}"
    with suppress(FileNotFoundError):
        path.rename(target)
        return target
    return None
