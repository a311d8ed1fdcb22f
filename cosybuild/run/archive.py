"""One file that carries a finished run to another team: its record, its artifacts, and what its steps made.

    bundle.json            {"schema", "kind": "bundle", "name", "artifacts": bool, "keys": [[stage, {part: value}]],
                           "files": {path: {"sha256", "size"}}}; always the first member
    run/...                the run directory
    store/entries, objects what the steps made, laid out as a remote store

It is a plain .tar.gz of regular files, the same bytes each time it is written from the same run. Nothing in it is
believed when it arrives: only what bundle.json lists is unpacked, each file against its size and digest, and results
enter the store through the same checks as from any remote. A digest says that a file arrived whole, not who sent it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from cosybuild.core.key import CacheKey
from cosybuild.core.plain import SCHEMA, Plain
from cosybuild.core.remote import Remote
from cosybuild.core.store import Store
from cosybuild.errors import ConfigurationError, StoreError
from cosybuild.run.claim import CLAIM
from cosybuild.run.deliver import ARTIFACTS
from cosybuild.run.recorded import EVENTS, RecordedRun

INDEX, RUN, STORE = "bundle.json", "run", "store"
_BLOCK = 2**20
_INDEX_LIMIT = 64 * 2**20
_NOT_CARRIED = {EVENTS, CLAIM}


@dataclass(frozen=True)
class Arrival:
    """What an archive brought.

    Attributes:
        run: the run directory it was put in.
        results: how many results of steps are now in the store.
        was_there: the run directory existed and was left as it is.
    """

    run: Path
    results: int
    was_there: bool


def write_bundle(run: RecordedRun, store: Store, target: Path, *, artifacts: bool) -> None:
    """Write the archive of a run.

    Args:
        artifacts: carry the artifacts and the steps' results; else only the record with their digests.

    Raises:
        StoreError: a result of the run is no longer in the store, or the archive cannot be written.
    """
    keys = [record.key for record in run.outcome.records if record.key is not None and record.outputs]
    with tempfile.TemporaryDirectory(prefix="cosybuild-bundle-") as temporary:
        staged = Path(temporary)
        if artifacts:
            _stage_results(store, keys, staged / STORE)
        files = dict(_files(run.directory, RUN, artifacts=artifacts)) | dict(
            _files(staged / STORE, STORE, artifacts=True)
        )
        index = {
            "schema": SCHEMA,
            "kind": "bundle",
            "name": run.directory.resolve().name,
            "artifacts": artifacts,
            "keys": [[key.stage, dict(key.parts)] for key in keys] if artifacts else [],
            "files": {name: {"sha256": _digest(path), "size": path.stat().st_size} for name, path in files.items()},
        }
        (staged / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
        part = target.with_name(f".{target.name}.part")
        with (
            part.open("wb") as raw,
            gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for name, path in [(INDEX, staged / INDEX), *sorted(files.items())]:
                _add(archive, name, path)
        part.replace(target)


def read_bundle(source: Path, store: Store, runs: Path) -> Arrival:
    """Check an archive and take it in: results into the store, the run beside the others.

    Raises:
        ConfigurationError: it is no archive of ours, damaged, or has members that would leave their place.
        StoreError: a result in it is damaged, or the store cannot be written.
    """
    with _unpacked(source) as (place, index):
        name = index.text("name")
        if PurePosixPath(name).name != name or name in ("", ".", ".."):
            raise _refused(source, f"it names its run {name!r}, which is no plain name")
        keys = [CacheKey(str(stage), dict(parts)) for stage, parts in index.get("keys", list)]
        beside = Store(store.path, remote=Remote(f"file://{place / STORE}", push=False), warn=store.warn)
        for key in keys:
            if beside.find(key) is None and beside.pull(key) is None:
                raise StoreError(
                    f"The result of '{key.stage}' in {source} did not pass its checks.",
                    hint="Next: have the bundle written and sent again",
                )
        beside.flush()
        target = runs / name
        was_there = target.exists()
        if not was_there:
            runs.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=runs))
            shutil.copytree(place / RUN, fresh, dirs_exist_ok=True)
            fresh.chmod(0o755)
            fresh.rename(target)
        return Arrival(target, len(keys), was_there)


def _stage_results(store: Store, keys: list[CacheKey], place: Path) -> None:
    remote = Remote(f"file://{place}")
    for key in keys:
        entry = store.find(key)
        if entry is None:
            raise StoreError(
                f"The result of '{key.stage}' is no longer in {store.path}.",
                hint="Next: build the run again, name its store with --store, or bundle --without-artifacts",
            )
        remote.give(entry, store.warn)


def _files(root: Path, prefix: str, *, artifacts: bool) -> Iterator[tuple[str, Path]]:
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        left_out = inside.name in _NOT_CARRIED or (not artifacts and inside.parts[0] == ARTIFACTS)
        if path.is_file() and not left_out:
            yield f"{prefix}/{inside.as_posix()}", path


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    member = tarfile.TarInfo(name)  # no owner, no time, one mode: the same run gives the same bytes
    member.size, member.mode = path.stat().st_size, 0o644
    with path.open("rb") as content:
        archive.addfile(member, content)


@contextmanager
def _unpacked(source: Path) -> Iterator[tuple[Path, Plain]]:
    """A directory with what the archive lists, every file checked; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="cosybuild-import-") as temporary:
        place = Path(temporary)
        try:
            with tarfile.open(source, "r:gz") as archive:
                yield place, _unpack(archive, source, place)
        except FileNotFoundError as error:
            if error.filename != str(source):
                raise
            raise ConfigurationError(f"{source} does not exist.", hint="Next: correct the path.") from error
        except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
            raise _refused(source, f"it cannot be read: {error}") from error


def _unpack(archive: tarfile.TarFile, source: Path, place: Path) -> Plain:
    first = archive.next()
    if first is None or first.name != INDEX or not first.isfile() or first.size > _INDEX_LIMIT:
        raise _refused(source, f"its first member is not {INDEX}")
    content = archive.extractfile(first)
    assert content is not None, "a regular file has content"
    try:
        index = Plain(json.loads(content.read()), f"{source}: {INDEX}")
    except ValueError as error:
        raise _refused(source, f"{INDEX} is no JSON: {error}") from error
    if index.text("kind") != "bundle" or index.get("schema", int) != SCHEMA:
        raise _refused(source, f"it is a {index.text('kind')} of schema {index.get('schema', int)}, not of {SCHEMA}")
    wanted = dict(index.object("files").items())
    while (member := archive.next()) is not None:
        listed = wanted.pop(member.name, None)
        if listed is None:
            raise _refused(source, f"its member {member.name!r} is not listed in {INDEX}, or comes twice")
        if not member.isfile() or not _is_inside(member.name):
            raise _refused(source, f"its member {member.name!r} would leave its place or is no regular file")
        content = archive.extractfile(member)
        assert content is not None, "a regular file has content"
        target = place / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_checked(content, target, listed, source)
    if wanted:
        raise _refused(source, f"it lacks {next(iter(wanted))!r}")
    return index


def _copy_checked(content: IO[bytes], target: Path, listed: Plain, source: Path) -> None:
    digest, size, expected = hashlib.sha256(), 0, listed.get("size", int)
    with target.open("xb") as local:
        while size <= expected and (block := content.read(_BLOCK)):
            digest.update(block)
            size += len(block)
            local.write(block)
    if (size, digest.hexdigest()) != (expected, listed.text("sha256")):
        raise _refused(source, f"{target.name} has other content than {INDEX} says")


def _is_inside(name: str) -> bool:
    """Whether a member's name stays below the directory it is unpacked in, on any system."""
    path = PurePosixPath(name)
    plain = not path.is_absolute() and "\\" not in name and ":" not in name and str(path) == name
    return plain and ".." not in path.parts and path.parts[0] in (RUN, STORE) and len(path.parts) > 1


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        digest = hashlib.sha256()
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _refused(source: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{source} is not taken in: {why}.", hint="Next: have it written again with `python -m cosybuild bundle RUN`."
    )


def plain_facts(arrival: Arrival) -> dict[str, Any]:
    """For `--json`."""
    return {"run": str(arrival.run), "results": arrival.results, "was_there": arrival.was_there}
