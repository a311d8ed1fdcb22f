"""The planner: it gives every step a verdict and a reason, without running or writing anything.

sources ──> export ──graph──> simplify ──graph──> engine        step      verdict
               │                  │                             export    Hit       its key is in the store
               │ Hit: content     │ Stale: content              simplify  Stale     settings.rounds: 2 -> 3
               │ is known         │ is not known yet            engine    Unknown   waits for graph
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cosybuild.building.history import Expectation, History
from cosybuild.building.stage import Stage
from cosybuild.building.status import Blocked, Hit, Stale, Status, Unknown
from cosybuild.building.wiring import SOURCE, Wire, wire
from cosybuild.store.artifact import Artifact
from cosybuild.store.entry import Entry
from cosybuild.store.key import CacheKey, flatten
from cosybuild.store.store import Store
from cosybuild.system.environment import Environment

NEVER_BUILT = "never built"
EVERY_TIME = "runs every time"
DAMAGED = "its stored result is damaged"


@dataclass(frozen=True)
class Step:
    """One stage in a plan, and the plan's verdict on it.

    Attributes:
        stage: the stage that the step runs.
        status: the verdict with its reason.
        key: the cache key; None if the content of an input is not known yet.
        entry: the stored result, if the verdict is a Hit; else None.
        wires: the inputs, each with the step that makes it.
        expected: the expected time, size and memory of a step that would run; None if it was never built before.
    """

    stage: Stage[Any]
    status: Status
    key: CacheKey | None = None
    entry: Entry | None = None
    wires: tuple[Wire, ...] = ()
    expected: Expectation | None = None

    @property
    def label(self) -> str:
        """The name of the step for people, which is unique in the plan."""
        return self.stage.label

    @property
    def inputs(self) -> dict[str, str]:
        """Slot -> label of the step that makes it, or SOURCE."""
        return {wire.slot: wire.producer for wire in self.wires}


@dataclass(frozen=True)
class Plan:
    """The steps of a build, in the order in which they run."""

    steps: tuple[Step, ...] = field(default=())

    def step(self, label: str) -> Step:
        """Return the step with this label.

        Raises:
            KeyError: there is no such step.
        """
        return {step.label: step for step in self.steps}[label]

    @property
    def up_to_date(self) -> bool:
        """True if every step is a hit, so that nothing would run."""
        return all(isinstance(step.status, Hit) for step in self.steps)

    @property
    def expected_seconds(self) -> float | None:
        """The expected duration of all steps that would run, in seconds; None if one of them was never built before."""
        running = [step.expected for step in self.steps if not isinstance(step.status, (Hit, Blocked))]
        return None if None in running else sum(expected.seconds for expected in running if expected is not None)


def make_plan(
    stages: Sequence[Stage[Any]],
    request: Any,
    sources: Mapping[str, Artifact],
    environment: Environment,
    store: Store,
) -> Plan:
    """Give every stage a verdict and return the plan. Nothing is run, written or fetched.

    Args:
        stages: the stages in the order in which they run.
        request: the request of the build, which is passed to `Stage.settings` unchanged.
        sources: slot -> artifact, for the slots that are filled before the first step.
        environment: the facts of this machine.
        store: the store, which is searched for finished steps.

    Raises:
        PlanError: the stages contradict each other.
    """
    history = History(store.entries)
    contents: dict[tuple[str, str], Artifact] = {(SOURCE, slot): artifact for slot, artifact in sources.items()}
    blocked: set[str] = set()
    steps = []
    for stage, wires in zip(stages, wire(stages, sources), strict=True):
        known = {w.slot: contents[w.producer, w.origin] for w in wires if (w.producer, w.origin) in contents}
        waits_for = tuple(w.slot for w in wires if w.slot not in known)
        lacking = blocked_inputs(wires, blocked)
        key = key_of(stage, request, environment, known)
        entry = store.find(key) if stage.cacheable and not waits_for else None
        status: Status
        if lacking:
            status = Blocked(lacking)
        elif entry is not None:
            status = Hit()
            contents.update({(stage.label, slot): artifact for slot, artifact in entry.outputs.items()})
        elif lacks := stage.missing(request, environment):
            status = Blocked(lacks)
        else:
            status = Unknown(waits_for) if waits_for else stale(stage, key, store)
        if isinstance(status, Blocked):
            blocked.add(stage.label)
        expected = history.expect(key) if isinstance(status, (Stale, Unknown)) else None
        steps.append(Step(stage, status, None if waits_for else key, entry, wires, expected))
    return Plan(tuple(steps))


def key_of(stage: Stage[Any], request: Any, environment: Environment, inputs: Mapping[str, Artifact]) -> CacheKey:
    """Return the key of a step, made of its stage, settings, inputs and environment.

    The names of the outputs are a part of the key. So an entry with this key has every output that a later step needs.

    Args:
        stage: the stage.
        request: the request of the build.
        environment: the facts of this machine.
        inputs: slot -> artifact, for the inputs whose content is known.
    """
    parts = {"stage.version": str(stage.version), "stage.makes": ",".join(stage.makes)}
    parts.update(flatten("settings", stage.settings(request)))
    parts.update({f"input.{slot}": artifact.digest for slot, artifact in inputs.items()})
    parts.update({f"environment.{name}": value for name, value in stage.environment(environment).items()})
    for name, value in parts.items():
        assert isinstance(value, str), f"'{stage.label}': {name} is {value!r}, not text"
    return CacheKey(stage.name, parts)


def stale(stage: Stage[Any], key: CacheKey, store: Store) -> Stale:
    """Return the verdict on a step whose key is not in the store, with the reason why it must run."""
    if not stage.cacheable:
        return Stale(note=EVERY_TIME)
    if (damage := store.damage(key)) is not None:
        return Stale(note=f"{DAMAGED}: {damage}")
    nearest = store.nearest(key)
    reasons = () if nearest is None else key.diff(nearest)
    # If most parts of a key differ, it is the key of another network, and a list of differences explains nothing.
    return Stale(reasons) if reasons and len(reasons) <= len(key.parts) / 2 else Stale(note=NEVER_BUILT)


def blocked_inputs(wires: Sequence[Wire], blocked: set[str]) -> tuple[str, ...]:
    """Return one phrase for each input that cannot be made, because its step is blocked.

    Args:
        wires: the inputs of a step.
        blocked: the labels of the blocked steps so far.
    """
    return tuple(f"{w.origin} from '{w.producer}', which is blocked" for w in wires if w.producer in blocked)
