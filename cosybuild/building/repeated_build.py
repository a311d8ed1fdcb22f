"""A build repeated without stored results, and the comparison of its artifacts, for `replay` and `verify.repeat`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosybuild.building.events import EventBus
from cosybuild.building.plan import make_plan
from cosybuild.building.record import Failure
from cosybuild.building.runner import execute
from cosybuild.building.stage import Emit, Stage
from cosybuild.store.artifact import Artifact
from cosybuild.store.store import Store
from cosybuild.system.environment import Environment

SAME, EQUIVALENT, DIFFERENT, MISSING = "same", "equivalent", "different", "missing"


@dataclass(frozen=True)
class Made:
    """The facts of an artifact by which two builds are compared.

    Attributes:
        digest: the sha256 of its content.
        deterministic: False if two builds of one key may give different bytes, as for an engine, which is tuned by
            timing.
        traits: facts that all builds of one key share; empty if they are not known.
    """

    digest: str
    deterministic: bool
    traits: Mapping[str, Any] = field(default_factory=dict)


def verdict_of(before: Made | None, after: Made | None) -> str:
    """Compare an artifact with the same artifact of another build.

    Args:
        before: the artifact of the first build; None if it made none.
        after: the artifact of the second build; None if it made none.

    Returns:
        SAME for equal bytes, EQUIVALENT for different bytes of a step that is not deterministic but has the same
            traits, DIFFERENT for any other difference, and MISSING if one build lacks the artifact.
    """
    if before is None or after is None:
        return MISSING
    if before.digest == after.digest:
        return SAME
    return EQUIVALENT if not before.deterministic and before.traits == after.traits else DIFFERENT


@dataclass(frozen=True)
class Rebuilt:
    """The result of one repeated build.

    Attributes:
        artifacts: slot -> artifact.
        seconds: label of the step -> wall time in seconds.
        failure: the failure that ended the build; None if there was none.
    """

    artifacts: Mapping[str, Artifact]
    seconds: Mapping[str, float]
    failure: Failure | None


def rebuild(
    steps: Sequence[Stage[Any]], request: Any, sources: Mapping[str, Sequence[Path]], home: Path, _emit: Emit
) -> Rebuilt:
    """Run these steps with an empty store, and write the artifacts below `home`.

    Args:
        steps: the stages in their order.
        request: the request of the build.
        sources: slot -> files, the main file first, for the slots that are filled before the first step.
        home: an empty directory.
    """
    store = Store(home / "store")
    given = {slot: store.source(slot, *paths) for slot, paths in sources.items()}
    environment = Environment()
    plan = make_plan(tuple(steps), request, given, environment, store)
    outcome = execute(plan, request, given, environment, store, EventBus())
    artifacts = {}
    for record in outcome.records:
        for slot, artifact in record.outputs.items():
            paths = store.checkout(artifact, home / slot)
            files = [type(f)(p.name, p, f.digest, f.size) for f, p in zip(artifact.files, paths, strict=True)]
            artifacts[slot] = Artifact(slot, tuple(files))
    return Rebuilt(artifacts, {r.label: r.seconds for r in outcome.records}, outcome.failure)
