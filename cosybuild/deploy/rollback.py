"""The backups of a directory in service, and the rollback to one of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cosybuild.deploy.confined import check_journal, check_names
from cosybuild.deploy.journal import PART, begin, finish, missing
from cosybuild.deploy.staging import Put, stage_one
from cosybuild.deploy.state import (
    BackupRecord,
    convert_disk_errors,
    free_reserve,
    locked,
    numbered_backups,
    read_current,
    read_journal,
    read_record,
    reserve,
)
from cosybuild.deploy.transaction import FILES, RECORD, publish
from cosybuild.directory_in_service import STATE, Journal
from cosybuild.errors import DeployError
from cosybuild.system.files import sync_tree

_UNDO = "staging-undo"


@dataclass(frozen=True)
class Backup:
    """A backup of the files that one change replaced.

    Attributes:
        number: the number of the change.
        directory: the directory with the files.
        record: the record of the backup.
    """

    number: int
    directory: Path
    record: BackupRecord


def backups(root: Path) -> list[Backup]:
    """Return the backups that exist, the oldest first.

    Raises:
        DeployError: the record of a backup is damaged.
    """
    found = []
    for number, directory in numbered_backups(root).items():
        record = read_record(directory / RECORD, BackupRecord)
        if record is not None:
            found.append(Backup(number, directory / FILES, record))
    return found


def rollback(root: Path, to: int | None = None) -> tuple[int, list[str]]:
    """Restore the files from before a deployment.

    A rollback is a change like any other, with a backup of its own. It also works on a full disk, because files are
    linked and not copied, and disk space for the records is reserved. A deployment that was interrupted and cannot be
    finished is undone.

    Args:
        root: the directory in service.
        to: the number of the deployment; None for the last one that is not undone yet.

    Returns:
        The number of the deployment, and the names that changed.

    Raises:
        DeployError: there is no such backup.
    """
    with convert_disk_errors(root), locked(root):
        free_reserve(root)
        journal = read_journal(root)
        if journal is not None:
            check_journal(root, journal)
        if journal is not None and missing(root, journal):
            changed = journal.number, _undo(root, journal)
        else:
            finish(root)
            changed = _restore(root, to)
        reserve(root)
        return changed


def _restore(root: Path, to: int | None) -> tuple[int, list[str]]:
    kept = backups(root)
    position = read_current(root).position
    undoable = [b.number for b in kept if b.record.kind == "deploy" and (not position or b.number < position)]
    number = to if to is not None else max(undoable, default=None)
    chosen = next((b for b in kept if b.number == number), None)
    if number is None or chosen is None:
        have = ", ".join(str(b.number) for b in kept) or "none"
        if to is None and kept:
            raise DeployError(
                f"All deployments of {root} are undone.",
                hint=f"Next: `python -m cosybuild rollback {root} --to N` restores the state before deployment N; "
                f"it has {have}.",
            )
        asked = f"backup {to}" if to is not None else "backup that can be restored"
        raise DeployError(
            f"{root} has no {asked}; it has {have}.", hint=f"Next: python -m cosybuild rollback {root} --list"
        )
    # Several changes can be undone at once. Restore each file from the earliest of their backups that has it.
    sources: dict[str, Path | None] = {}
    links: dict[str, str] = {}
    for backup in kept:
        if backup.number >= number:
            for name, existed in backup.record.existed.items():
                if name not in sources and name in backup.record.links:
                    links[name] = backup.record.links[name]
                sources.setdefault(name, backup.directory / name if existed else None)
    puts = [Put(name, path, link=True) for name, path in sources.items() if path is not None]
    removes = [name for name, path in sources.items() if path is None]
    # `position` makes the next rollback restore an older state. If the restored state is itself that of an earlier
    # backup, the position is the number of that backup.
    position = chosen.record.position or number
    publish(root, puts, removes, kind="rollback", position=position, files=chosen.record.files, links=links)
    return number, list(sources)


def _undo(root: Path, journal: Journal) -> list[str]:
    """Restore the files from before a deployment that cannot be finished, remove its backup, and return the names."""
    state = root / STATE
    places = [state / f"{journal.number:04}", state / f"{journal.number:04}{PART}"]
    directory = next((place for place in places if (place / RECORD).exists()), None)
    if directory is None:
        raise DeployError(
            f"{root} cannot be restored: the backup {journal.number:04} of the interrupted deployment is missing.",
            hint=f"Next: deploy again after removing {state / 'journal.json'}; files in {root} may be of two builds.",
        )
    record = read_record(directory / RECORD, BackupRecord)
    assert record is not None
    check_names(root, record.existed)
    staging, digests = state / _UNDO, {}
    for name, existed in record.existed.items():
        if existed:
            (staging / name).unlink(missing_ok=True)
            digests[name] = stage_one(Put(name, directory / FILES / name, link=True), staging / name)
    staging.mkdir(exist_ok=True)
    sync_tree(staging)
    removes = tuple(name for name, existed in record.existed.items() if not existed)
    position = read_current(root).position
    files, links = record.files, record.links
    begin(root, Journal(journal.number, _UNDO, digests, removes, position, files, discards=True, links=links))
    finish(root)
    return list(record.existed)
