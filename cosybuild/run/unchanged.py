"""Whether a run directory already holds what a plan would put there; then it is left as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosybuild.core.plan import Plan
from cosybuild.core.store import Store
from cosybuild.errors import ConfigurationError, StoreError
from cosybuild.manifest import SUFFIX, read_manifest
from cosybuild.run.deliver import EVIDENCE, delivered_slots, is_evidence
from cosybuild.run.recorded import REPORT_TEXT, RecordedRun, read_run


def unchanged_report(directory: Path, plan: Plan, store: Store) -> Mapping[str, Any] | None:
    """The report of an earlier run that made just this; None if anything is missing or different.

    So the reasons of the run that really built stay readable, however often the command is repeated.
    """
    if not plan.up_to_date:
        return None
    try:
        run = read_run(str(directory))
    except ConfigurationError:  # none, or one that was cut off or is of another version
        return None
    keys = {step.label: step.key and step.key.digest for step in plan.steps}
    recorded = {record.label: record.key and record.key.digest for record in run.outcome.records}
    if run.report["status"] != "ok" or keys != recorded:
        return None
    return run.report if _is_as_delivered(directory, run, store) else None


def _is_as_delivered(directory: Path, run: RecordedRun, store: Store) -> bool:
    """Every file that the run laid out is there and is what it was."""
    expected = {}
    for artifact in run.report["artifacts"]:
        main = directory / artifact["path"]
        if not _describes(main, artifact["files"][artifact["name"]]):
            return False
        # A stage's own manifest became a part of the run's, so it has another content there.
        expected.update({main.with_name(n): d for n, d in artifact["files"].items() if not n.endswith(SUFFIX)})
    for slot, (_, artifact) in delivered_slots(run.outcome).items():
        if is_evidence(slot):
            expected.update({directory / EVIDENCE / file.name: file.digest for file in artifact.files})
    try:
        same = all(store.source(path.name, path).digest == digest for path, digest in expected.items())
    except StoreError:
        return False
    return same and (directory / REPORT_TEXT).is_file()


def _describes(artifact: Path, digest: str) -> bool:
    """Whether the manifest beside an artifact is of this content."""
    try:
        manifest = read_manifest(artifact)
    except (ValueError, OSError):
        return False
    return manifest is not None and manifest["file"]["sha256"] == digest
