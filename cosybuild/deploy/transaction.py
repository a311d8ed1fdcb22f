"""The change of a directory in service as one step: files are staged, backed up, journalled, then put in place.

Nothing in the directory changes before the journal is written. From then on the new state counts: readers use the
journal (`cosybuild.directory_in_service`), and the next process that changes the directory (a deployment, `check`,
`rollback`) first finishes the change. A runtime that does not read the journal finds complete files only. Graphs are
put in place before plans, so such a runtime never loads a plan that belongs to neither state.

A power cut at any time leaves the old or the new state, because the steps are durable in this order: contents of the
staged files and of the backup, their names, the journal, names in place, the record of the state, removal of the
journal, removal of the staging directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cosybuild.deploy.confined import STAGING, check_names
from cosybuild.deploy.journal import PART, apply, begin, discard_backup, discard_leftovers, finish
from cosybuild.deploy.staging import Put, link_or_copy, stage_all
from cosybuild.deploy.state import (
    BackupRecord,
    Current,
    convert_disk_errors,
    locked,
    numbered_backups,
    read_current,
    reserve,
    write_record,
)
from cosybuild.digest import digest_of
from cosybuild.directory_in_service import JOURNAL, MOST_BACKUPS, STATE, Journal
from cosybuild.errors import DeployError
from cosybuild.filename import is_plain_path
from cosybuild.system.files import sync_directory, sync_tree

RECORD, FILES = "record.json", "files"
"""The names of a backup's record and of the directory with its files, below STATE/NNNN."""


@contextmanager
def changing(root: Path) -> Iterator[None]:
    """Hold the lock of `root`, after any unfinished earlier change is finished.

    Raises:
        DeployError: another process deploys there, the disk reports an error, or an earlier change cannot be finished.
    """
    with convert_disk_errors(root), locked(root):
        finish(root)
        yield


def publish(
    root: Path,
    puts: Sequence[Put],
    removes: Sequence[str],
    *,
    kind: str = "deploy",
    position: int = 0,
    files: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
) -> int | None:
    """Change the files of `root` and return the number of the backup that undoes the change.

    Return None if nothing changes. The caller must hold the lock (`changing`).

    Args:
        root: the directory in service.
        puts: the files to write, in the order in which they are put in place.
        removes: the names to remove, after all puts.
        kind: `deploy` or `rollback`. Only a `deploy` is skipped if nothing would change.
        position: the number of the backup that has the state of the directory after the change; 0 for a new state.
        files: name -> sha256 of all files of deployments after the change; None to compute it from the recorded ones.
        links: name -> target of the symbolic link that is put back in place of the file; None for none.

    Raises:
        DeployError: a name is unsafe or leads through a link, or a copy differs from its source; the directory is
            unchanged.
        OSError: the disk reports an error. If the journal was not written yet, the directory is unchanged; otherwise
            the change counts.
    """
    unsafe = next((name for name in (*(put.name for put in puts), *removes) if not is_plain_path(name)), None)
    if unsafe is not None:
        raise DeployError(
            f"{unsafe!a} cannot be changed in {root}: every part of a path must be a plain file name.",
            hint="Next: rename the file, then deploy again.",
        )
    check_names(root, (*(put.name for put in puts), *removes))
    current = read_current(root)
    if kind == "deploy":
        reserve(root)
        if _is_up_to_date(root, puts, removes):
            return None
    state = root / STATE
    number = 1 + max((*numbered_backups(root), current.number))
    if number > MOST_BACKUPS:
        raise DeployError(
            f"{root} is not changed: its last backup has the number {number - 1}, the largest that a backup can have.",
            hint=f"Next: remove {state} if the directory came from elsewhere; its backups are lost.",
        )
    try:
        digests = stage_all(puts, state / f"{STAGING}{number:04}")
        _back_up(root, [*digests, *removes], number, kind, current)
    except (OSError, DeployError):
        discard_leftovers(root)
        raise
    if files is None:
        files = {n: d for n, d in {**current.files, **digests}.items() if n not in removes}
    journal = Journal(number, f"{STAGING}{number:04}", digests, tuple(removes), position, files, links=links or {})
    begin(root, journal)
    apply(root, journal)
    return number


def prune(root: Path, keep: int) -> None:
    """Remove all but the newest backups. The caller must hold the lock.

    Args:
        root: the directory in service.
        keep: the number of backups that stay; at least one stays.
    """
    for backup in [*numbered_backups(root).values()][: -max(1, keep)]:
        discard_backup(backup)


def recover(root: Path) -> bool:
    """Finish the change that an interrupted deployment began, and return True if there was one.

    Raises:
        DeployError: another process deploys there, the disk reports an error, staged files are missing, or a step would
            follow a link.
    """
    if not (root / STATE / JOURNAL).exists():
        return False
    with convert_disk_errors(root), locked(root):
        return finish(root)


def _is_up_to_date(root: Path, puts: Sequence[Put], removes: Sequence[str]) -> bool:
    """Return True if the directory is already in the state that the change would give it."""
    if any((root / name).exists() for name in removes):
        return False
    # Compare manifests first: they are small, and a difference in any other file also changes a manifest.
    for put in sorted(puts, key=lambda put: not isinstance(put.content, str)):
        if put.name in removes:  # the change writes this file and then removes it
            continue
        path = root / put.name
        if put.digest is None or not path.is_file() or digest_of(path) != put.digest:
            return False
    return True


def _back_up(root: Path, names: Sequence[str], number: int, kind: str, current: Current) -> None:
    part = root / STATE / f"{number:04}{PART}"
    existed, links = {}, {}
    for name in dict.fromkeys(names):
        source = root / name
        existed[name] = source.exists()
        if existed[name] and not source.is_file():
            # A backup with a pipe or a socket in it would be refused by every later command.
            raise DeployError(
                f"{root} is not changed: {source.name!a} in it is not a regular file, so it is not replaced.",
                hint=f"Next: ls -l {root}; move it to another place.",
            )
        if existed[name]:
            target = part / FILES / name
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(source, target)
        if source.is_symlink():
            links[name] = str(source.readlink())
    part.mkdir(exist_ok=True)
    write_record(part / RECORD, BackupRecord(kind, existed, current.position, current.files, links))
    sync_tree(part)
    sync_directory(root / STATE)
