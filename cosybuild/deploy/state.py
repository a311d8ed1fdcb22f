"""The state that deployments keep in a directory in service: the lock, durable records, and reserved disk space."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from msgspec import Meta

from cosybuild.deploy.confined import check_state
from cosybuild.directory_in_service import CURRENT, JOURNAL, MOST_BACKUPS, STATE, Journal, journal_from, read_state
from cosybuild.errors import ConfigurationError, DeployError
from cosybuild.filename import is_plain_path
from cosybuild.system import local_lock
from cosybuild.system.files import make_directory, write_atomic
from cosybuild.system.json_records import read_json
from cosybuild.system.typed_json import from_json, to_json

T = TypeVar("T")

_LOCK, _RESERVE, _OLD_POSITION = "lock", "reserve", "position.json"
_Number = Annotated[int, Meta(ge=0, le=MOST_BACKUPS)]

RESERVED = 1 << 17
"""The number of bytes that are reserved for the records of a rollback, so that a rollback works on a full disk."""


def read_record(path: Path, form: type[T]) -> T | None:
    """Return the record in a file as a value of the dataclass `form`; None if the file does not exist.

    Raises:
        DeployError: the file contains something else.
    """
    try:
        return from_json(read_json(read_state(path)), form, "its record")
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _damaged(path, f"{error}.") from error
    except ConfigurationError as error:
        raise _damaged(path, error.message) from error


def write_record(path: Path, record: Any) -> None:
    """Write a record to a file atomically and durably, so that it survives a power cut."""
    write_atomic(path, json.dumps(to_json(record), indent=2).encode("ascii"))


def read_journal(root: Path) -> Journal | None:
    """Return the journal of a change that has begun and is not finished; None if there is none.

    Raises:
        DeployError: the journal is damaged.
    """
    path = root / STATE / JOURNAL
    try:
        return journal_from(read_state(path), path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _damaged(path, f"{error}.") from error


@dataclass(frozen=True)
class Current:
    """The record of the last change of a directory.

    Attributes:
        number: the number of the change's backup; 0 if there was no change.
        position: the number of the backup that has the present state of the directory; 0 if no backup has it.
        files: name -> sha256 of all files that deployments have put there.
    """

    number: _Number = 0
    position: _Number = 0
    files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_plain_names(self.files)


@dataclass(frozen=True)
class BackupRecord:
    """The record of one backup, which has the files that one change replaced.

    Attributes:
        kind: the kind of the change, `deploy` or `rollback`.
        existed: name -> True if the file existed before the change.
        position: the number of an earlier backup that has the state before the change; 0 if there is none.
        files: name -> sha256 of all files of deployments before the change.
        links: name -> target, for files that were symbolic links, as in the cache of a hub.
    """

    kind: str
    existed: Mapping[str, bool]
    position: _Number = 0
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_plain_names(self.files)


def read_current(root: Path) -> Current:
    """Return the record of the last change of a directory in service.

    Raises:
        DeployError: the record is damaged.
    """
    state = root / STATE
    # An older version of cosybuild recorded only the position.
    return read_record(state / CURRENT, Current) or read_record(state / _OLD_POSITION, Current) or Current()


def numbered_backups(root: Path) -> dict[int, Path]:
    """Return number -> directory of each backup, the oldest first."""
    names = (path.name for path in (root / STATE).iterdir() if path.is_dir())
    numbers = sorted(int(name) for name in names if re.fullmatch(r"[0-9]{4,9}", name))
    return {number: root / STATE / f"{number:04}" for number in numbers}


def reserve(root: Path) -> None:
    """Reserve disk space for the records of a later rollback. If the disk is full, do nothing."""
    path = root / STATE / _RESERVE
    with suppress(OSError):
        if not path.exists() or path.stat().st_size < RESERVED:
            path.write_bytes(bytes(RESERVED))


def free_reserve(root: Path) -> None:
    """Free the reserved disk space, so that records can be written on a full disk."""
    (root / STATE / _RESERVE).unlink(missing_ok=True)


@contextmanager
def convert_disk_errors(root: Path) -> Iterator[None]:
    """Convert an OSError in the `with` block into a DeployError that names the directory."""
    try:
        yield
    except OSError as error:
        raise DeployError(
            f"{root} cannot be changed: {error.strerror or error} ({error.filename}).",
            hint=f"Next: correct it (space, permissions), then run `python -m cosybuild check {root}`, which "
            "completes or discards the deployment.",
        ) from error


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the lock with which one process at a time changes `root`. The system releases it if the process ends.

    Raises:
        DeployError: another process holds the lock, or the state contains a link.
    """
    state = root / STATE
    check_state(root)
    # The journal is durable only if the directories on its path are.
    make_directory(state)
    with ExitStack() as stack:
        try:
            stack.enter_context(local_lock.locked(state / _LOCK))
        except BlockingIOError as error:
            raise DeployError(
                f"another process is deploying to {root}.", hint="Next: wait for it, then run the same command again."
            ) from error
        yield


def _check_plain_names(names: Iterable[str]) -> None:
    """Raise an error for a name that is not a plain path below the directory.

    Raises:
        ValueError: names the first such name.
    """
    for name in names:
        if not is_plain_path(name):
            raise ValueError(f"names {name!a:.200}, which is no plain path of a file")


def _damaged(path: Path, why: str) -> DeployError:
    return DeployError(
        f"{path} is damaged, and not by a deployment: {why}",
        hint="Next: check the files of the directory; remove the damaged file when the directory is correct.",
    )
