"""The delivery of artifacts into a run directory, under the names that runtimes expect, each with a manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cosybuild.building.plan import Plan
from cosybuild.building.record import Outcome
from cosybuild.errors import StoreError
from cosybuild.manifest import manifest_path
from cosybuild.run.artifact_manifest import sidecar_text, verification_of
from cosybuild.store.artifact import Artifact
from cosybuild.store.store import Store
from cosybuild.system.files import write_text

ARTIFACTS = "artifacts"
EVIDENCE = "evidence"
_ALIKE = ("precision",)
"""Slots whose file has the same name in every build.

In a joint build of several networks, the name of the network is added to the file name.
"""
_EVIDENT = ("verification", "benchmark", "reference", "profile", "repetition", "media")


def is_evidence(slot: str) -> bool:
    """Return True if a slot holds measurements of an artifact, not an artifact to deliver."""
    return slot.endswith(_EVIDENT)


@dataclass(frozen=True)
class Final:
    """The artifact to deliver for one slot: the last content that the run gave this slot.

    A slot is the name under which a stage makes an artifact, such as `graph`.

    Attributes:
        part: the name of one network in a joint build of several networks, else an empty text.
        slot: the slot, without the name of the network.
        label: the label of the step that made the artifact.
        artifact: the content, with the file paths in the store or in the record.
    """

    part: str
    slot: str
    label: str
    artifact: Artifact

    @property
    def home(self) -> str:
        """The subdirectory of the run directory into which the artifact is delivered."""
        return EVIDENCE if is_evidence(self.slot) else ARTIFACTS

    @property
    def names(self) -> dict[str, str]:
        """Name in the store -> delivered name, for the files that are renamed because several parts use their name."""
        if not self.part or not (is_evidence(self.slot) or self.slot in _ALIKE):
            return {}
        return {file.name: f"{self.part}.{file.name}" for file in self.artifact.files}

    @property
    def renamed(self) -> Artifact:
        """The artifact, with the delivered names of its files."""
        files = tuple(replace(file, name=self.names.get(file.name, file.name)) for file in self.artifact.files)
        return replace(self.artifact, files=files)

    def facts(self, origin: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts for the manifest of the artifact: the origin, the slot, the step and the part.

        Args:
            origin: the origin of the part, from `facts.origin_of`.
        """
        return {**origin, "slot": self.slot, "made_by": self.label, **({"part": self.part} if self.part else {})}


def delivered_slots(outcome: Outcome) -> list[Final]:
    """Return the last content of every slot (such as `graph`) of every network.

    For a failed run, return the evidence, and only those artifacts that passed all of their verifications.
    """
    last: dict[tuple[str, str], Final] = {}
    for record in outcome.records:
        for slot, artifact in record.outputs.items():
            last[record.part, slot] = Final(record.part, slot, record.label, artifact)
    finals = list(last.values())
    if outcome.failure is None:
        return finals
    return [f for f in finals if f.home == EVIDENCE or verification_of(outcome, f.artifact)["verified"]]


@dataclass(frozen=True)
class Delivered:
    """An artifact that a run delivered, as its report lists it.

    Attributes:
        slot: the slot that the artifact fills.
        name: the name of its main file.
        path: the path of its main file, relative to the run directory.
        digest: the digest of all its files.
        size: the size of all its files, in bytes.
        made_by: the label of the step that made it.
        deterministic: True if another build gives the same bytes.
        traits: facts that all builds of one key share, even if their bytes differ.
        verified_by: the labels of the steps that verified it.
        files: file name -> digest.
        part: the name of one network in a joint build of several networks, else an empty text.
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
    part: str = ""


def deliver(
    store: Store, plan: Plan, outcome: Outcome, run: Path, origin: Callable[[str], Mapping[str, Any]]
) -> list[Delivered]:
    """Copy the outputs of a run to its directory, with manifests, and remove files of an earlier run there.

    Artifacts go to artifacts/, and the results of verifications and benchmarks to evidence/.

    Args:
        store: the store that has the outputs.
        plan: the plan of the run.
        outcome: the records of the run's steps.
        run: the run directory.
        origin: called with the name of a network in a joint build, else with an empty text. It returns the origin for
            the manifests (see `facts.origin_of`): the model, the weights, the configuration and the versions.

    Returns:
        The delivered artifacts, without the evidence.
    """
    delivered: list[Delivered] = []
    for name in (ARTIFACTS, EVIDENCE):
        (run / name).mkdir(parents=True, exist_ok=True)
    kept: set[Path] = set()
    deterministic = {step.label: step.stage.deterministic for step in plan.steps}
    for final in delivered_slots(outcome):
        slot, label, artifact, directory = final.slot, final.label, final.artifact, run / final.home
        paths = store.checkout(artifact, directory, final.names)
        kept.update(paths)
        if directory.name == EVIDENCE:
            continue
        manifest = manifest_path(paths[0])
        write_text(manifest, sidecar_text(final.renamed, outcome, final.facts(origin(final.part))))
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
                {final.names.get(file.name, file.name): file.digest for file in artifact.files},
                tuple(verification_of(outcome, artifact)["verified_by"]),
                final.part,
            )
        )
        kept.add(manifest)
    for name in (ARTIFACTS, EVIDENCE):
        for stray in set((run / name).iterdir()) - kept:
            stray.unlink()
        if outcome.failure is not None and not any((run / name).iterdir()):
            (run / name).rmdir()
    return delivered


def check_own_directories(run: Path) -> None:
    """Raise an error if artifacts/ or evidence/ of a run directory is a symbolic link.

    A build removes the files in these two directories that it did not write.

    Raises:
        StoreError: one of the two directories is a link.
    """
    for name in (ARTIFACTS, EVIDENCE):
        if (run / name).is_symlink():
            raise StoreError(
                f"{run / name} is a symbolic link, and a build removes the files there that it did not write.",
                hint="Next: remove the link, or make the whole directory `outputs` a link.",
            )
