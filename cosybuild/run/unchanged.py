"""The check that a run directory already holds the results of a plan; the directory is then not written again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cosybuild.building.plan import Plan
from cosybuild.errors import ConfigurationError, StoreError
from cosybuild.manifest import SUFFIX, manifest_path
from cosybuild.report.markdown import markdown
from cosybuild.run.artifact_manifest import sidecar_text
from cosybuild.run.deliver import ARTIFACTS, delivered_slots
from cosybuild.run.facts import origin_of
from cosybuild.run.recorded import PLAN, REPORT_PAGE, REPORT_TEXT, RecordedRun, read_run
from cosybuild.store.artifact import Artifact
from cosybuild.store.store import Store
from cosybuild.system.json_records import read_record


def unchanged_report(directory: Path, plan: Plan, store: Store) -> Mapping[str, Any] | None:
    """Return the report of an earlier run with the same results; None if anything is missing or different.

    The caller then keeps that report, which states the reasons why the steps were built.

    Args:
        directory: the run directory.
        plan: the plan of the new run.
        store: the store of the new run.
    """
    if not plan.up_to_date:
        return None
    try:
        run = read_run(str(directory))
        read_record(directory / PLAN, "plan")
    except ConfigurationError:  # there is no record, or it is cut off, damaged or of another version
        return None
    keys = {step.label: step.key and step.key.digest for step in plan.steps}
    recorded = {record.label: record.key and record.key.digest for record in run.outcome.records}
    if run.report["status"] != "ok" or keys != recorded or not (directory / REPORT_PAGE).is_file():
        return None
    return run.report if _is_as_delivered(directory, run, store) else None


def _is_as_delivered(directory: Path, run: RecordedRun, store: Store) -> bool:
    """Return True if every file that the run delivered exists and is unchanged."""
    expected, texts = {}, {directory / REPORT_TEXT: markdown(run.report)}
    for final in delivered_slots(run.outcome):
        artifact, home = _located(final.renamed, store), directory / final.home
        # Leave out manifests that stages wrote. The delivered manifest has their facts, so its content differs.
        expected.update({home / f.name: f.digest for f in artifact.files if not f.name.endswith(SUFFIX)})
        if final.home == ARTIFACTS:
            facts = final.facts(origin_of(run.report, run.outcome, final.part))
            texts[manifest_path(home / artifact.files[0].name)] = sidecar_text(artifact, run.outcome, facts)
    try:
        wrong = {digest for path, digest in expected.items() if store.source(path.name, path).digest != digest}
        if wrong:
            _doubt(run, wrong, store)
            return False
        return all(path.read_text(encoding="utf-8") == text for path, text in texts.items())
    except (StoreError, OSError, UnicodeDecodeError):
        return False


def _doubt(run: RecordedRun, digests: set[str], store: Store) -> None:
    """Check the stored files of artifacts whose delivered copies have changed.

    The program that wrote to the copy may also have written to the stored file and restored its times. A damaged stored
    file is moved to the quarantine and built again.

    Args:
        run: the recorded run.
        digests: the recorded digests of the files whose copies have changed.
        store: the store.
    """
    for final in delivered_slots(run.outcome):
        for file in _located(final.artifact, store).files:
            if file.digest in digests:
                store.fault(file)


def _located(artifact: Artifact, store: Store) -> Artifact:
    """Return the artifact with file paths in this store. The run may have been recorded with another store path."""
    return replace(artifact, files=tuple(replace(f, path=store.objects.locate(f.digest)) for f in artifact.files))
