"""The deliverables of a run, under the names the runtimes expect, each with a manifest beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosybuild.core.artifact import Artifact
from cosybuild.core.plain import write_text
from cosybuild.core.plan import Plan
from cosybuild.core.record import Outcome
from cosybuild.core.store import Store
from cosybuild.manifest import manifest_path
from cosybuild.run.sidecar import sidecar_text

ARTIFACTS = "artifacts"
EVIDENCE = "evidence"
_EVIDENT = ("verification", "benchmark", "reference", "profile", "repetition")


def is_evidence(slot: str) -> bool:
    """Whether a slot holds figures about an artifact, and not an artifact."""
    return slot.endswith(_EVIDENT)


def delivered_slots(outcome: Outcome) -> dict[str, tuple[str, Artifact]]:
    """Slot -> (label of the step that made it, artifact): the last maker of each slot counts."""
    last: dict[str, tuple[str, Artifact]] = {}
    for record in outcome.records:
        for slot, artifact in record.outputs.items():
            last[slot] = (record.label, artifact)
    return last


def deliver(store: Store, plan: Plan, outcome: Outcome, run: Path, origin: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lay what was made into the run directory, with manifests; what an earlier run left there is removed.

    Deliverables go to artifacts/, the figures of verifications to evidence/.

    Args:
        origin: what every manifest says of where the artifact comes from (model, weights, configuration,
            versions, verification).

    Returns:
        One plain entry an artifact, for the report: slot, name, path (relative to the run directory),
        digest, size, made_by, deterministic (whether another build gives the same bytes), traits (what
        two builds have in common where it does not).
    """
    entries: list[dict[str, Any]] = []
    for name in (ARTIFACTS, EVIDENCE):
        (run / name).mkdir(parents=True, exist_ok=True)
    kept: set[Path] = set()
    deterministic = {step.label: step.stage.deterministic for step in plan.steps}
    for slot, (label, artifact) in delivered_slots(outcome).items():
        directory = run / (EVIDENCE if is_evidence(slot) else ARTIFACTS)
        paths = store.lay_out(artifact, directory)
        entry = {
            "slot": slot,
            "name": paths[0].name,
            "path": f"{directory.name}/{paths[0].name}",
            "digest": artifact.digest,
            "size": artifact.size,
            "made_by": label,
            "deterministic": deterministic[label],
            "traits": outcome.record(label).metrics.get("traits", {}),
            "files": {file.name: file.digest for file in artifact.files},
        }
        kept.update(paths)
        if directory.name == EVIDENCE:
            continue
        manifest = manifest_path(paths[0])
        write_text(manifest, sidecar_text(artifact, outcome, {**origin, "slot": slot, "made_by": label}))
        entries.append(entry)
        kept.add(manifest)
    for name in (ARTIFACTS, EVIDENCE):
        for stray in set((run / name).iterdir()) - kept:
            stray.unlink()
    return entries


def retract(run: Path) -> None:
    """Take away what an earlier run left: after a failure nothing may lie where finished work is looked for."""
    for name in (ARTIFACTS, EVIDENCE):
        shutil.rmtree(run / name, ignore_errors=True)
