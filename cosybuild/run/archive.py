"""One file that carries a finished run to another team: its record, its artifacts, and what its steps made.

    bundle.json            {"schema", "kind": "bundle", "name", "artifacts": bool, "keys": [[stage, {part: value}]],
                           "files": {path: {"sha256", "size"}}}; always the first member
    run/...                the run directory
    store/entries, objects what the steps made, laid out as a remote store

The same bytes each time it is written from the same run. Nothing in it is believed when it arrives (`run.packed`),
and results enter the store through the same checks as from any remote.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.core.disk import make_directory, sync_directory, sync_tree
from cosybuild.core.key import CacheKey
from cosybuild.core.remote import Remote
from cosybuild.core.store import Store
from cosybuild.errors import StoreError
from cosybuild.filename import fault_of
from cosybuild.run.claim import CLAIM
from cosybuild.run.deliver import ARTIFACTS
from cosybuild.run.packed import Form, pack, unpacked
from cosybuild.run.recorded import EVENTS, RecordedRun

RUN, STORE = "run", "store"
BUNDLE = Form("bundle", "bundle.json", (RUN, STORE), "have it written again with `python -m cosybuild bundle RUN`")
_LONGEST_RUN = 200
"""Bytes of a run's name; a temporary directory beside it has a longer one."""
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
        facts = {
            "name": run.directory.resolve().name,
            "artifacts": artifacts,
            "keys": [[key.stage, dict(key.parts)] for key in keys] if artifacts else [],
        }
        pack(BUNDLE, target, facts, files)


def read_bundle(source: Path, store: Store, runs: Path) -> Arrival:
    """Check an archive and take it in: results into the store, the run beside the others.

    Raises:
        ConfigurationError: it is no archive of ours, damaged, or has members that would leave their place.
        StoreError: a result in it is damaged, or the store cannot be written.
    """
    with unpacked(BUNDLE, source) as (place, index):
        name = index.text("name")
        if (fault := fault_of(name, _LONGEST_RUN)) is not None:
            raise BUNDLE.refused(source, f"it names its run {name!a}, and that name {fault}")
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
            make_directory(runs)
            fresh = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=runs))
            shutil.copytree(place / RUN, fresh, dirs_exist_ok=True)
            fresh.chmod(0o755)
            # A run directory that a power cut left with empty files would pass for one that was there already.
            sync_tree(fresh)
            fresh.rename(target)
            sync_directory(runs)
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


def plain_facts(arrival: Arrival) -> dict[str, Any]:
    """For `--json`."""
    return {"run": str(arrival.run), "results": arrival.results, "was_there": arrival.was_there}
