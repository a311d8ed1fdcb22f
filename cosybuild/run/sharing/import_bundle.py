"""The import of bundles that other people made. Nothing in a bundle is trusted.

An import checks every member (`run.safe_archive`), accepts only records and data (`allowed_files`), parses every record
before it keeps anything (`import_check`), and marks the run as imported (`run.imported_run`). The results of steps are
added to the store only if the user requests it, with the same checks as results from a remote.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.errors import ConfigurationError, StoreError
from cosybuild.filename import fault_of
from cosybuild.run.imported_run import Origin, origin_of_run, write_mark
from cosybuild.run.safe_archive import Bounds, open_archive
from cosybuild.run.sharing.allowed_files import is_record_or_data
from cosybuild.run.sharing.bundle import BUNDLE, RUN, STORE, Index, may_contain
from cosybuild.run.sharing.import_check import check_records
from cosybuild.signing import verify
from cosybuild.store.key import CacheKey
from cosybuild.store.remote import Remote
from cosybuild.store.store import Store
from cosybuild.store.workdirs import Workdirs
from cosybuild.system.files import make_directory, sync_directory, sync_tree
from cosybuild.system.owner import Heartbeat

_LONGEST_RUN = 200
"""The largest size of a run's name in bytes. The name of the temporary directory for the import is longer."""
IMPORTED = ".imported"
"""The suffix of the directory of an imported run. No directory of a build has this suffix."""
_ARRIVING = ".arriving"


@dataclass(frozen=True)
class ImportedBundle:
    """The outcome of an import.

    Attributes:
        run: the run directory.
        carried: the number of results of steps in the archive.
        results: the number of these results that were added to the store.
        was_there: True if this archive was imported before; its run directory is then kept.
        signer: the fingerprint of the key whose signature was verified; None if no check was requested.
    """

    run: Path
    carried: int
    results: int
    was_there: bool
    signer: str | None = None


def read_bundle(
    source: Path,
    store: Store,
    runs: Path,
    *,
    trust_results: bool = False,
    bounds: Bounds | None = None,
    key: Path | None = None,
) -> ImportedBundle:
    """Check a bundle, unpack it into a new run directory, and mark this directory as an imported run.

    Args:
        source: the bundle.
        store: the store for the results of the steps.
        runs: the directory in which the run directory is made.
        trust_results: add the results of the steps to the store, so that builds use them.
        bounds: the limits for the unpacked size; None for the default limits.
        key: a public key, with which the signature is verified before anything of the archive is read; None for no
            check.

    Raises:
        ConfigurationError: the file is not a bundle, is damaged or too large, has other members than records and data,
            has records that are not valid, or has no signature of the key.
        StoreError: a result in the bundle is damaged, or the store or the run directory cannot be written.
    """
    signed = None if key is None else verify(source, key)
    with open_archive(BUNDLE, source, bounds or Bounds(), None if signed is None else signed.sha256) as (
        package,
        digest,
    ):
        index = package.index(Index)
        name = index.name
        if (fault := fault_of(name, _LONGEST_RUN)) is not None:
            raise package.refused(f"it names its run {name!a}, and that name {fault}")
        for member in package.files:
            if not may_contain(member):
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
                check_records(fresh, source)
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
        return ImportedBundle(target, len(keys), len(keys) if trust_results else 0, was_there, origin.signer)


def _is_kept(member: str, *, was_there: bool, trust_results: bool) -> bool:
    root, _, inside = member.partition("/")
    return (not was_there and is_record_or_data(inside)) if root == RUN else trust_results


def _origin_there(target: Path, digest: str) -> Origin | None:
    """Return the mark of an existing run directory that was imported from the same archive, else None.

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
    """Yield a temporary directory for an import, next to the run directories; remove those of killed imports."""
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


def plain_facts(imported: ImportedBundle) -> dict[str, Any]:
    """Return the outcome of an import as plain JSON, for `--json`."""
    return dataclasses.asdict(imported) | {"run": str(imported.run)}
