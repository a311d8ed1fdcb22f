"""Files of a directory in service changed as one step: staged, backed up, journalled, then renamed.

Until the journal is written nothing in the directory has changed; from then on whoever comes next (a
deployment, `check`, `rollback`) finishes it. Meanwhile every single file is whole, a file and its manifest
fit (see `manifest.NEXT`), and what is derived from a graph is replaced or removed after the graph: a runtime
that starts in between loads the old plan or the new graph, never a plan of neither.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.errors import DeployError
from cosybuild.manifest import file_digest

STATE = ".cosybuild-backup"
_JOURNAL, _STAGING, _RECORD, _POSITION, _LOCK = "journal.json", "staging", "record.json", "position.json", "lock"
_FILES = "files"


@dataclass(frozen=True)
class Put:
    """A file to be put in place.

    Attributes:
        name: below the directory, with forward slashes.
        content: a file to copy, or the text itself.
        sha256: what a copied file must be; None where that is not known.
    """

    name: str
    content: Path | str
    sha256: str | None = None


@dataclass(frozen=True)
class Backup:
    """What stood there before one change. `kind` is `deploy` or `rollback`; existed: name -> whether it did."""

    number: int
    kind: str
    existed: Mapping[str, bool]
    directory: Path


def publish(root: Path, puts: Sequence[Put], removes: Sequence[str], *, kind: str = "deploy", position: int = 0) -> int:
    """Change the files of `root` and return the number of the backup that undoes it.

    Args:
        puts: in the order they are put in place.
        removes: names that go, after all puts.
        position: the backup that the directory equals afterwards; 0 for a new state.

    Raises:
        DeployError: another process deploys there, or the disk refuses; the directory is as it was.
    """
    with _explained(root), _locked(root):
        finish(root)
        state = root / STATE
        staging = state / _STAGING
        staging.mkdir()
        for index, put in enumerate(puts):
            _stage(put, staging / str(index))
        number = _back_up(root, [*(put.name for put in puts), *removes], kind)
        journal = {"puts": [put.name for put in puts], "removes": list(removes), "position": position}
        _write(state / _JOURNAL, journal)
        _apply(root, journal)
        return number


def recover(root: Path) -> bool:
    """Finish what an interrupted deployment began; whether there was one.

    Raises:
        DeployError: another process deploys there, or the disk refuses.
    """
    if not (root / STATE / _JOURNAL).exists():
        return False
    with _explained(root), _locked(root):
        return finish(root)


def finish(root: Path) -> bool:
    """`recover` for a caller that holds the lock; leftovers of a change that never began are removed."""
    state = root / STATE
    journal = _read(state / _JOURNAL)
    if journal is not None:
        _apply(root, journal)
    shutil.rmtree(state / _STAGING, ignore_errors=True)
    for part in state.glob("*.part"):
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    return journal is not None


def backups(root: Path) -> list[Backup]:
    """All backups, the oldest first. Those that somebody deleted are simply not there."""
    found = []
    for directory in sorted((root / STATE).glob("[0-9]*")):
        record = _read(directory / _RECORD) if directory.name.isdigit() else None
        if record is not None:
            found.append(Backup(int(directory.name), record["kind"], record["existed"], directory / _FILES))
    return found


def rollback(root: Path, to: int | None = None) -> tuple[int, list[str]]:
    """Bring back what stood there before deployment `to`, by default the last one that is not undone yet.

    It is a change like any other and has a backup itself.

    Returns:
        The number of the backup, and the names that changed.

    Raises:
        DeployError: there is no such backup.
    """
    recover(root)
    kept = backups(root)
    position = (_read(root / STATE / _POSITION) or {}).get("position", 0)
    undoable = [b.number for b in kept if b.kind == "deploy" and (not position or b.number < position)]
    number = to if to is not None else max(undoable, default=None)
    if number not in {b.number for b in kept}:
        have = ", ".join(str(b.number) for b in kept) or "none"
        asked = f"backup {to}" if to is not None else "backup that is not restored yet"
        raise DeployError(f"{root} has no {asked}; it has {have}.", hint=f"Next: ls {root / STATE}")
    assert number is not None
    # The earliest change from there on knows what stood there before all of them.
    sources: dict[str, Path | None] = {}
    for backup in kept:
        if backup.number >= number:
            for name, existed in backup.existed.items():
                sources.setdefault(name, backup.directory / name if existed else None)
    puts = [Put(name, path) for name, path in sources.items() if path is not None]
    removes = [name for name, path in sources.items() if path is None]
    publish(root, puts, removes, kind="rollback", position=number)
    return number, list(sources)


def _stage(put: Put, target: Path) -> None:
    if isinstance(put.content, str):
        target.write_text(put.content, encoding="utf-8")
    else:
        # Always a copy: a service may write into its files, and the source may be linked to the store.
        shutil.copyfile(put.content, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    if put.sha256 is not None and file_digest(target) != put.sha256:
        raise DeployError(
            f"the copy of {put.content} is not equal to it: the disk or another program changed it.",
            hint="Next: run the same build again; nothing in service was changed.",
        )


def _back_up(root: Path, names: Sequence[str], kind: str) -> int:
    state = root / STATE
    number = 1 + max((int(d.name) for d in state.iterdir() if d.name.isdigit()), default=0)
    part = state / f"{number:04}.part"
    existed = {}
    for name in dict.fromkeys(names):
        source = root / name
        existed[name] = source.exists()
        if existed[name]:
            target = part / _FILES / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(source, target)
    part.mkdir(exist_ok=True)
    _write(part / _RECORD, {"kind": kind, "existed": existed})
    part.rename(state / f"{number:04}")
    return number


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        # Links cost nothing, and what is in service is replaced by renames, never written into.
        os.link(source.resolve(), target)
    except OSError:
        shutil.copy2(source, target)


def _apply(root: Path, journal: Mapping[str, Any]) -> None:
    """Do, or finish, what the journal says. Every step may be repeated."""
    state = root / STATE
    for index, name in enumerate(journal["puts"]):
        staged, target = state / _STAGING / str(index), root / name
        if staged.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            staged.replace(target)
    for name in journal["removes"]:
        (root / name).unlink(missing_ok=True)
    for directory in {root, *((root / name).parent for name in journal["puts"])}:
        _sync(directory)
    _write(state / _POSITION, {"position": journal["position"]})
    (state / _JOURNAL).unlink()
    shutil.rmtree(state / _STAGING, ignore_errors=True)


def _write(path: Path, plain: Any) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(plain, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _sync(path.parent)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DeployError(
            f"{path} was damaged by something else than a deployment: {error}.",
            hint="Next: look at the files beside it; remove it once the directory is as you want it.",
        ) from error
    return plain


def _sync(directory: Path) -> None:
    if os.name == "posix":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _explained(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DeployError(
            f"{root} cannot be changed: {error.strerror or error} ({error.filename}).",
            hint=f"Next: mend it (space, permissions), then `python -m cosybuild check {root}`: it finishes or "
            "discards what was begun.",
        ) from error


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One deployment at a time; the system frees the lock of a process that dies."""
    state = root / STATE
    state.mkdir(parents=True, exist_ok=True)
    with (state / _LOCK).open("a+b") as file:
        try:
            if os.name == "posix":
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # Windows only
        except OSError as error:
            raise DeployError(
                f"another process is deploying to {root}.", hint="Next: wait for it, then run this again."
            ) from error
        yield
