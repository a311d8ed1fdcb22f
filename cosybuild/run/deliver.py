"""The artifacts of a run directory, under the names that runtimes expect, each with a manifest beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.building.plan import Plan
from cosybuild.building.record import Outcome
from cosybuild.manifest import manifest_path
from cosybuild.run.artifact_manifest import sidecar_text, verification_of
from cosybuild.store.artifact import Artifact
from cosybuild.store.store import Store
from cosybuild.system.files import write_text

ARTIFACTS = "artifacts"
EVIDENCE = "evidence"
_EVIDENT = ("verification", "benchmark", "reference", "profile", "repetition")


def is_evidence(slot: str) -> bool:
    """Return True if a slot holds figures about an artifact, not an artifact to deliver."""
    return slot.endswith(_EVIDENT)


def delivered_slots(outcome: Outcome) -> dict[str, tuple[str, Artifact]]:
    """Return slot -> (label of the step that made it, artifact); the last producer of each slot counts.

    A failed run delivers its evidence, and of its artifacts those that passed all of their verifications.
    """
    last: dict[str, tuple[str, Artifact]] = {}
    for record in outcome.records:
        for slot, artifact in record.outputs.items():
            last[slot] = (record.label, artifact)
    if outcome.failure is None:
        return last
    return {s: m for s, m in last.items() if is_evidence(s) or verification_of(outcome, m[1])["verified"]}


@dataclass(frozen=True)
class Delivered:
    """An artifact that a run delivered, as its report has it.

    Attributes:
        slot, name: the slot that it fills, and the name of its main file.
        path: its main file, relative to the run directory.
        digest, size: digest and size in bytes of all its files.
        made_by: the label of the step that made it.
        deterministic: True if another build gives the same bytes.
        traits: the facts that two builds share if their bytes differ.
        verified_by: the labels of the steps that verified it.
        files: name -> digest.
    """

    slot: str
    name: str
    path: str
    digest: str
    size: int
    made_by: str
    deterministic: bool
    traits: Mapping[str, Any]
    files: Mapping[str, str]
    verified_by: tuple[str, ...] = ()


def deliver(store: Store, plan: Plan, outcome: Outcome, run: Path, origin: Mapping[str, Any]) -> list[Delivered]:
    """Copy the outputs of a run to its directory, with manifests, and remove files of an earlier run.

    Artifacts go to artifacts/, figures of verifications and benchmarks to evidence/.

    Args:
        origin: the origin for every manifest, from `facts.origin_of`: model, weights, configuration, versions.
    """
    delivered: list[Delivered] = []
    for name in (ARTIFACTS, EVIDENCE):
        (run / name).mkdir(parents=True, exist_ok=True)
    kept: set[Path] = set()
    deterministic = {step.label: step.stage.deterministic for step in plan.steps}
    for slot, (label, artifact) in delivered_slots(outcome).items():
        directory = run / (EVIDENCE if is_evidence(slot) else ARTIFACTS)
        paths = store.checkout(artifact, directory)
        kept.update(paths)
        if directory.name == EVIDENCE:
            continue
        manifest = manifest_path(paths[0])
        write_text(manifest, sidecar_text(artifact, outcome, {**origin, "slot": slot, "made_by": label}))
        delivered.append(
            Delivered(
                slot,
                paths[0].name,
                f"{directory.name}/{paths[0].name}",
                artifact.digest,
                artifact.size,
                label,
                deterministic[label],
                outcome.record(label).metrics.get("traits", {}),
                {file.name: file.digest for file in artifact.files},
                tuple(verification_of(outcome, artifact)["verified_by"]),
            )
        )
        kept.add(manifest)
    for name in (ARTIFACTS, EVIDENCE):
        for stray in set((run / name).iterdir()) - kept:
            stray.unlink()
        if outcome.failure is not None and not any((run / name).iterdir()):
            (run / name).rmdir()
    return delivered
