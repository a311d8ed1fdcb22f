"""Bundles: a finished run as one file for another team, with its record, its artifacts and the results of its steps.

    bundle.json            the index (`_Index` and the files by digest); always the first member
    run/...                the run directory
    store/entries, objects the results of the steps, in the layout of a remote

The same run always gives the same bytes. An import does not trust the file: it checks every member
(`run.tar_archive`), accepts only records and data (`members`), parses every record before it keeps anything
(`import_check`), and marks the run as foreign (`run.imported_run`). Results of steps enter the store only if the user
requests it, with the same checks as results from a remote.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.errors import ConfigurationError, StoreError
from cosybuild.filename import fault_of, is_plain_name
from cosybuild.report.profile import PLOT
from cosybuild.run.deliver import ARTIFACTS
from cosybuild.run.failure.archive import FAILURE_ARCHIVE
from cosybuild.run.imported_run import Origin, origin_of_run, write_mark
from cosybuild.run.recorded import REPORT_TEXT, RecordedRun
from cosybuild.run.sharing.import_check import rehearse
from cosybuild.run.sharing.members import is_record_or_data
from cosybuild.run.tar_archive import Bounds, Form, opened, pack
from cosybuild.signing import verify
from cosybuild.store.key import CacheKey
from cosybuild.store.remote import Remote
from cosybuild.store.store import Store
from cosybuild.store.workdirs import Workdirs
from cosybuild.system.files import make_directory, sync_directory, sync_tree
from cosybuild.system.owner import Heartbeat
from cosybuild.system.typed_json import to_json

RUN, STORE = "run", "store"
BUNDLE = Form(
    "bundle", "bundle.json", (RUN, STORE), "ask the sender to write it again with `python -m cosybuild bundle RUN`"
)
_LONGEST_RUN = 200
"""The largest size of a run's name in bytes; the name of the temporary directory beside it is longer."""
IMPORTED = ".imported"
"""The end of the name of an imported run's directory, which no build of the user has."""
_ARRIVING = ".arriving"
DERIVED = (REPORT_TEXT, PLOT, FAILURE_ARCHIVE)
"""Files of a run that a bundle contains and an import ignores: they are made from the records, or sent separately."""
_RESULT = re.compile(r"entries/[^/]+/[0-9a-f]{64}\.json|objects/[0-9a-f]{2}/[0-9a-f]{64}")


@dataclass(frozen=True)
class Arrival:
    """The content of an imported archive.

    Attributes:
        run: the run directory.
        carried: the number of results of steps in the archive.
        results: the number of these results that were added to the store.
        was_there: True if the run directory existed and was not changed.
        signer: the fingerprint of the key whose signature was verified; None if no check was requested.
    """

    run: Path
    carried: int
    results: int
    was_there: bool
    signer: str | None = None


@dataclass(frozen=True)
class _Index:
    """The fields of `bundle.json`; `keys` has the stage's name and the parts of each result."""

    name: str
    keys: tuple[tuple[str, Mapping[str, str]], ...]
    artifacts: bool = False

    def __post_init__(self) -> None:
        for stage, _ in self.keys:
            if not is_plain_name(stage):
                raise ValueError(f"names the stage {stage!a} in keys; it should be a plain name")


def write_bundle(run: RecordedRun, store: Store, target: Path, *, artifacts: bool) -> None:
    """Write the archive of a run.

    Args:
        artifacts: True to include the artifacts and the results of the steps, False for the record only.

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
        listed = tuple((key.stage, key.parts) for key in keys) if artifacts else ()
        pack(BUNDLE, target, to_json(_Index(run.directory.resolve().name, listed, artifacts)), files)


def read_bundle(
    source: Path,
    store: Store,
    runs: Path,
    *,
    trust_results: bool = False,
    bounds: Bounds | None = None,
    key: Path | None = None,
) -> Arrival:
    """Check an archive and unpack it into a run directory with the mark of a foreign run.

    Args:
        trust_results: add the results of its steps to the store, so that builds use them.
        key: a public key; nothing of the archive is read before its signature is verified with it.

    Raises:
        ConfigurationError: the file is not a bundle, is damaged or too large, has other members than records and data,
            has records that are not valid, or has no signature of the key.
        StoreError: a result in it is damaged, or the store or the run directory cannot be written.
    """
    signed = None if key is None else verify(source, key)
    with opened(BUNDLE, source, bounds or Bounds(), None if signed is None else signed.sha256) as (package, digest):
        index = package.index(_Index)
        name = index.name
        if (fault := fault_of(name, _LONGEST_RUN)) is not None:
            raise package.refused(f"it names its run {name!a}, and that name {fault}")
        for member in package.files:
            if not _may_come_in(member):
                raise package.refused(f"its member {member!a} is neither a record nor data of a run")
        keys = [CacheKey(stage, parts) for stage, parts in index.keys]
        target = runs / f"{name.removesuffix(IMPORTED)}{IMPORTED}"
        there = _origin_there(target, digest)
        was_there = there is not None
        with _receiving(runs, name) as place:
            fresh = place / RUN
            fresh.mkdir()
            package.unpack(place, lambda name: _is_kept(name, was_there=was_there, trust_results=trust_results))
            if not was_there:
                rehearse(fresh, source)
            if trust_results:
                _take_results(keys, source, place / STORE, store)
            origin = Origin(
                source.name,
                digest,
                time.time(),
                trust_results or (there is not None and there.results),
                signed.key if signed is not None else there.signer if there is not None else None,
            )
            if there is None:
                write_mark(fresh, origin)
                fresh.chmod(0o755)
                # After a power cut, a run directory with empty files would count as imported.
                sync_tree(fresh)
                fresh.rename(target)
                sync_directory(runs)
            elif (origin.results, origin.signer) != (there.results, there.signer):
                write_mark(target, origin)
        return Arrival(target, len(keys), len(keys) if trust_results else 0, was_there, origin.signer)


def _may_come_in(member: str) -> bool:
    root, _, inside = member.partition("/")
    if root == RUN:
        return is_record_or_data(inside) or inside in DERIVED
    return _RESULT.fullmatch(inside) is not None


def _is_kept(member: str, *, was_there: bool, trust_results: bool) -> bool:
    root, _, inside = member.partition("/")
    return (not was_there and is_record_or_data(inside)) if root == RUN else trust_results


def _origin_there(target: Path, digest: str) -> Origin | None:
    """Return the mark of the run directory if this archive was imported before, else None.

    Raises:
        ConfigurationError: the path exists and is not from this archive.
    """
    if not os.path.lexists(target):
        return None
    there = origin_of_run(target)
    if there is None or there.sha256 != digest:
        raise ConfigurationError(
            f"{target} already exists, and is not from this archive.",
            hint="Next: remove it, or import into another directory with --runs DIR.",
        )
    return there


@contextmanager
def _receiving(runs: Path, name: str) -> Iterator[Path]:
    """Yield a temporary directory beside the runs, and remove the directories of killed imports."""
    there = runs.is_dir()
    make_directory(runs)
    arriving = runs / _ARRIVING
    try:
        with Workdirs(arriving, Heartbeat()).new(name) as place:
            yield place
    finally:
        with suppress(OSError):  # not empty, because another import is running
            arriving.rmdir()
            if not there:
                runs.rmdir()


def _take_results(keys: list[CacheKey], source: Path, place: Path, store: Store) -> None:
    beside = Store(store.path, remote=Remote(f"file://{place}", push=False), warn=store.warn)
    for key in keys:
        if beside.find(key) is None and beside.pull(key) is None:
            raise StoreError(
                f"The result of '{key.stage}' in {source} did not pass its checks.",
                hint="Next: ask the sender to write the bundle again",
            )
    beside.flush()


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
        left_out = not artifacts and inside.parts[0] == ARTIFACTS
        if path.is_file() and not left_out and _may_come_in(f"{prefix}/{inside.as_posix()}"):
            yield f"{prefix}/{inside.as_posix()}", path


def plain_facts(arrival: Arrival) -> dict[str, Any]:
    """Return the arrival as plain data for `--json`."""
    return dataclasses.asdict(arrival) | {"run": str(arrival.run)}
