"""The execution of a change that a journal describes, in a directory in service.

Every step may be repeated, so a change that a crash interrupted can be finished.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from cosybuild.deploy.confined import STAGING, check_journal, check_names
from cosybuild.deploy.state import Current, read_journal, write_record
from cosybuild.digest import digest_of
from cosybuild.directory_in_service import CURRENT, JOURNAL, STATE, Journal
from cosybuild.errors import DeployError
from cosybuild.system.files import sync_directory

PART = ".part"
"""The suffix of unfinished files and directories below STATE, the directory with the deployment state."""


def begin(root: Path, journal: Journal) -> None:
    """Write the journal of a change. From then on, the change counts and must be finished."""
    write_record(root / STATE / JOURNAL, journal)


def finish(root: Path) -> bool:
    """Finish the change that the journal describes, and remove leftovers. The caller holds the lock.

    Returns:
        True if there was a journal.

    Raises:
        DeployError: a staged file is missing or damaged, or a step would follow a link.
    """
    journal = read_journal(root)
    if journal is not None:
        check_journal(root, journal)
        lost = missing(root, journal)
        if lost:
            raise DeployError(
                f"the deployment {journal.number:04} to {root} was interrupted and cannot be completed: its staged "
                "file "
                f"{lost[0]} is missing or damaged.",
                hint=f"Next: `python -m cosybuild rollback {root}` restores the previous files; then deploy again.",
            )
        apply(root, journal)
    discard_leftovers(root)
    return journal is not None


def missing(root: Path, journal: Journal) -> list[str]:
    """Return the names whose files the change cannot put in place: they are neither staged nor already in place."""
    staging = root / STATE / journal.staging
    return [
        name
        for name, digest in journal.puts.items()
        if not any(path.is_file() and digest_of(path) == digest for path in (staging / name, root / name))
    ]


def discard_leftovers(root: Path) -> None:
    """Remove the files of unfinished changes. The caller holds the lock, and there must be no journal."""
    for path in [*(root / STATE).glob(f"{STAGING}*"), *(root / STATE).glob(f"*{PART}")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def apply(root: Path, journal: Journal) -> None:
    """Make the change that the journal describes, or finish it. Every step may be repeated."""
    state = root / STATE
    backup = state / f"{journal.number:04}"
    part = backup.with_name(backup.name + PART)
    if part.exists() and not journal.discards:
        part.rename(backup)
    for name in journal.puts:
        check_names(root, [name])
        _put_in_place(state / journal.staging / name, root / name)
        if name in journal.links:
            _restore_link(root / name, journal.links[name], journal.puts[name], state / journal.staging)
    for name in journal.removes:
        check_names(root, [name])
        (root / name).unlink(missing_ok=True)
    for directory in _folders(root, (*journal.puts, *journal.removes)):
        sync_directory(directory)
    write_record(state / CURRENT, Current(journal.number, journal.position, journal.files))
    (state / JOURNAL).unlink()
    # Remove the staging directory only after the journal: a journal without staged files cannot be finished.
    sync_directory(state)
    shutil.rmtree(state / journal.staging, ignore_errors=True)
    if journal.discards:
        discard_backup(backup)


def _put_in_place(staged: Path, target: Path) -> None:
    if not staged.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    link = staged.parent / f"{staged.name}{PART}"
    link.unlink(missing_ok=True)
    try:
        # Keep the staged name: readers take the file from there until the journal is removed.
        os.link(staged, link)
    except OSError:
        staged.replace(target)
        return
    link.replace(target)
    # A rename between two names of the same file does nothing, so remove the link.
    link.unlink(missing_ok=True)


def _restore_link(target: Path, text: str, digest: str, staging: Path) -> None:
    """Replace a file by the symbolic link that was there before, if the link's target still has the same content."""
    end = target.parent / text
    itself = end.resolve() == target.resolve()
    if not itself and staging.is_dir() and end.is_file() and digest_of(end) == digest:
        link = staging / f"{target.name}{PART}"
        link.unlink(missing_ok=True)
        link.symlink_to(text)
        link.replace(target)


def _folders(root: Path, names: Sequence[str]) -> list[Path]:
    """Return all directories in which the change has added or removed names, the deepest first."""
    found = {root}
    for name in names:
        folder = (root / name).parent
        while folder != root:
            found.add(folder)
            folder = folder.parent
    return sorted((path for path in found if path.is_dir()), key=lambda path: -len(path.parts))


def discard_backup(backup: Path) -> None:
    """Remove a backup. Rename it first, because a partly removed backup must not count as a backup."""
    if not backup.exists():
        return
    gone = backup.with_name(f"{backup.name}.gone{PART}")
    backup.rename(gone)
    sync_directory(backup.parent)
    shutil.rmtree(gone)
