"""Bundles: a finished run as one file for another team, with its record, its artifacts and the results of its steps.

    bundle.json            the index (`Index` and the files by digest); always the first member
    run/...                the run directory
    store/entries, objects the results of the steps, in the layout of a remote

The same run always gives the same bytes. The module `import_bundle` reads bundles.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cosybuild.building.plan import EVERY_TIME
from cosybuild.errors import StoreError
from cosybuild.filename import is_plain_name
from cosybuild.report.noise_profile import PLOT
from cosybuild.run.deliver import ARTIFACTS
from cosybuild.run.failure.archive import FAILURE_ARCHIVE
from cosybuild.run.recorded import REPORT_PAGE, REPORT_TEXT, RecordedRun
from cosybuild.run.safe_archive import Form, pack
from cosybuild.run.sharing.allowed_files import is_record_or_data
from cosybuild.store.key import CacheKey
from cosybuild.store.remote import Remote
from cosybuild.store.store import Store
from cosybuild.system.typed_json import to_json

RUN, STORE = "run", "store"
BUNDLE = Form(
    "bundle", "bundle.json", (RUN, STORE), "ask the sender to write it again with `python -m cosybuild bundle RUN`"
)
DERIVED = (REPORT_TEXT, REPORT_PAGE, PLOT, FAILURE_ARCHIVE)
"""Files of a run that a bundle may contain and an import leaves out.

The import makes the reports and the plot again from the records. A failure archive is sent separately.
"""
_RESULT = re.compile(r"entries/[^/]+/[0-9a-f]{64}\.json|objects/[0-9a-f]{2}/[0-9a-f]{64}")


@dataclass(frozen=True)
class Index:
    """The fields of `bundle.json`.

    Attributes:
        name: the name of the run.
        keys: the stage and the named parts of the key of each result in the bundle.
        artifacts: True if the bundle contains the artifacts and the results of the steps.
    """

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
        run: the recorded run.
        store: the store that has the results of its steps.
        target: the file to write.
        artifacts: True to include the artifacts and the results of the steps, False for the record only.

    Raises:
        StoreError: a result of the run is no longer in the store, or the archive cannot be written.
    """
    # The result of a step that runs every time, such as a benchmark, is in the evidence of the run only.
    kept = [record for record in run.outcome.records if record.outputs and record.reason != EVERY_TIME]
    keys = [record.key for record in kept if record.key is not None]
    with tempfile.TemporaryDirectory(prefix="cosybuild-bundle-") as temporary:
        staged = Path(temporary)
        if artifacts:
            _stage_results(store, keys, staged / STORE)
        files = dict(_files(run.directory, RUN, artifacts=artifacts)) | dict(
            _files(staged / STORE, STORE, artifacts=True)
        )
        listed = tuple((key.stage, key.parts) for key in keys) if artifacts else ()
        pack(BUNDLE, target, to_json(Index(run.directory.resolve().name, listed, artifacts)), files)


def may_contain(member: str) -> bool:
    """Return True if a bundle may contain a member with this path.

    A bundle may contain records and data of the run (see `allowed_files`), files of DERIVED, and stored results.
    """
    root, _, inside = member.partition("/")
    if root == RUN:
        return is_record_or_data(inside) or inside in DERIVED
    return _RESULT.fullmatch(inside) is not None


def _stage_results(store: Store, keys: list[CacheKey], place: Path) -> None:
    remote = Remote(f"file://{place}")
    for key in keys:
        entry = store.find(key)
        if entry is None:
            raise StoreError(
                f"The result of '{key.stage}' is no longer in {store.path}.",
                hint="Next: build the run again, name its store with --store, or bundle --without-artifacts",
            )
        remote.upload(entry, store.warn)


def _files(root: Path, prefix: str, *, artifacts: bool) -> Iterator[tuple[str, Path]]:
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        left_out = not artifacts and inside.parts[0] == ARTIFACTS
        if path.is_file() and not left_out and may_contain(f"{prefix}/{inside.as_posix()}"):
            yield f"{prefix}/{inside.as_posix()}", path
