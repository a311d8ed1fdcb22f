"""Garbage collection: remove the least recently used entries that no run refers to, also while builds are running."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

from cosybuild.store.entry import DamagedEntry, decode
from cosybuild.store.store import Store
from cosybuild.system.files import clock_of, convert_disk_errors

GRACE_SECONDS = 3600.0
"""The length of the grace period in seconds.

The period begins this long before the present or, if builds are running, before the oldest of them began. Files that
were written or used since then are kept. They may belong to a build that has not yet published its entry or recorded
its use.
"""


@dataclass(frozen=True)
class Removed:
    """An entry that was removed, or would be removed without `dry_run`.

    Attributes:
        stage: the name of its stage.
        key_digest: the digest of its key.
        size: the size of its files in bytes.
        used: the time of its last use, in seconds since the epoch.
        why: the reason for the removal, as a phrase.
    """

    stage: str
    key_digest: str
    size: int
    used: float
    why: str


@dataclass(frozen=True)
class Collected:
    """The outcome of `collect`.

    Attributes:
        entries: the removed entries, least recently used first.
        objects: the number of removed files. Several entries can refer to one file.
        freed: the size of these files and of the removed files of the quarantine, in bytes.
        kept: the size of the remaining files, in bytes.
    """

    entries: tuple[Removed, ...]
    objects: int
    freed: int
    kept: int


@dataclass(frozen=True)
class _Candidate:
    path: Path
    stage: str
    used: float
    contents: dict[str, int]


def collect(
    store: Store,
    *,
    keep: Collection[str] = (),
    older_than: float | None = None,
    max_bytes: int | None = None,
    dry_run: bool = False,
    grace: float = GRACE_SECONDS,
) -> Collected:
    """Remove entries, and the stored files to which no remaining entry refers.

    Without `older_than` and `max_bytes`, remove all entries except those in `keep`. Otherwise, remove the entries that
    were not used for `older_than`, and then the least recently used entries until the rest fits into `max_bytes`.

    Args:
        store: the store.
        keep: digests of keys and of stored files that runs refer to; they are never removed.
        older_than: an age in seconds since the last use; None for no limit.
        max_bytes: the limit on the size of all stored files together; None for no limit. Files in `keep` or in the
            grace period may exceed it.
        dry_run: change nothing.
        grace: the length of the grace period in seconds, see GRACE_SECONDS.

    Raises:
        StoreError: the store cannot be read or written.
    """
    with convert_disk_errors("collect garbage in", store.path):
        horizon, now = _grace_start(store, grace, dry_run)
        # List contents before entries, so that an entry that appears meanwhile counts as a user of its contents.
        contents = _Contents(dict(store.objects), keep, horizon)
        candidates = _read(store)
        contents.count(candidates)
        removed = []
        for candidate in candidates:
            is_kept = candidate.path.stem in keep or any(digest in keep for digest in candidate.contents)
            if is_kept or candidate.used >= horizon:
                continue
            age = now - candidate.used
            if older_than is None and max_bytes is None:
                why = "no run refers to it"
            elif older_than is not None and age > older_than:
                why = f"unused for {age / 86400:.1f} days"
            elif max_bytes is not None and contents.size > max_bytes:
                why = f"the store holds more than {max_bytes:,} bytes"
            else:
                continue
            if not dry_run and not _unlink(candidate.path, horizon):
                continue
            contents.drop(candidate)
            size = sum(candidate.contents.values())
            removed.append(Removed(candidate.stage, candidate.path.stem, size, candidate.used, why))
        freed = contents.freed + _empty_quarantine(store, horizon, dry_run)
        if not dry_run:
            for digest in contents.loose:
                store.objects.remove(digest, horizon)
        return Collected(tuple(removed), len(contents.loose), freed, contents.size)


class _Contents:
    """The stored files, with the number of entries that refer to each.

    Attributes:
        loose: the digests of the files to remove, to which no entry refers.
        freed: the size of these files in bytes.
        size: the size of all other files in bytes.
    """

    def __init__(self, contents: dict[str, os.stat_result], keep: Collection[str], horizon: float) -> None:
        self._sizes = {digest: stat.st_size for digest, stat in contents.items()}
        self._users: dict[str, int] = {}
        self._removable = {d for d, stat in contents.items() if d not in keep and stat.st_ctime < horizon}
        self.loose: set[str] = set()
        self.freed = 0
        self.size = sum(self._sizes.values())

    def count(self, candidates: list[_Candidate]) -> None:
        for candidate in candidates:
            for digest in candidate.contents:
                self._users[digest] = self._users.get(digest, 0) + 1
        for digest in self._removable - self._users.keys():
            self._release(digest)

    def drop(self, candidate: _Candidate) -> None:
        for digest in candidate.contents:
            self._users[digest] -= 1
            if not self._users[digest] and digest in self._removable:
                self._release(digest)

    def _release(self, digest: str) -> None:
        self.loose.add(digest)
        self.freed += self._sizes[digest]
        self.size -= self._sizes[digest]


def _grace_start(store: Store, grace: float, dry_run: bool) -> tuple[float, float]:
    """Return the start of the grace period and the present time, both in seconds since the epoch."""
    if dry_run or not store.path.exists():
        now = time.time()
    else:
        store.workdirs.sweep(always=True)
        now = clock_of(store.path)
    began = store.workdirs.oldest()
    return (now if began is None else min(now, began)) - grace, now


def _unlink(path: Path, horizon: float) -> bool:
    """Delete an entry, unless it was used after `horizon`; return True if it was deleted or is missing."""
    try:
        if path.stat().st_mtime >= horizon:
            return False
        path.unlink()
    except FileNotFoundError:
        pass
    return True


def _read(store: Store) -> list[_Candidate]:
    """Return all entries, least recently used first. A damaged entry counts as one without files."""
    found = []
    for path in store.entry_files.paths():
        with suppress(FileNotFoundError):
            used = path.stat().st_mtime
            try:
                files = decode(path.read_bytes(), path.stem, store.objects.locate).files
            except DamagedEntry:
                files = ()
            found.append(_Candidate(path, path.parent.name, used, {file.digest: file.size for file in files}))
    return sorted(found, key=lambda candidate: candidate.used)


def _empty_quarantine(store: Store, horizon: float, dry_run: bool) -> int:
    freed = 0
    for path in store.layout.quarantine.glob("*"):
        with suppress(FileNotFoundError):  # another gc may run at the same time
            stat = path.lstat()
            if stat.st_ctime >= horizon:
                continue
            if dry_run:
                pass
            elif S_ISDIR(stat.st_mode):  # a directory that was in the place of a stored file
                shutil.rmtree(path)
            else:
                path.unlink()
            freed += stat.st_size
    return freed
