"""The runner. For each step of a plan, it takes the result from the store or the remote, or it builds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosybuild.building.attempt import Attempt
from cosybuild.building.events import EventBus
from cosybuild.building.failures import convert_machine_errors, failure_from_error
from cosybuild.building.plan import Plan, Step, blocked_inputs, key_of, stale
from cosybuild.building.record import Failure, Outcome, StepRecord
from cosybuild.building.stage_run import StageRun
from cosybuild.building.status import Stale, Unknown
from cosybuild.building.wiring import SOURCE, in_part
from cosybuild.errors import CosybuildError, StoreError
from cosybuild.store.artifact import Artifact
from cosybuild.store.entry import Entry
from cosybuild.store.key import CacheKey
from cosybuild.store.result import StageResult
from cosybuild.store.store import Store
from cosybuild.system.clock import SYSTEM_CLOCK, Clock
from cosybuild.system.environment import Environment

ALREADY_BUILT = "already built"
NO_CHANGE = "already built: no change in {}"
BUILT_MEANWHILE = "built by another process meanwhile"
PULLED = "fetched from the remote"

_RESTORED = 2
"""The largest number of times that lost inputs of one step are built again."""


def execute(
    plan: Plan,
    request: Any,
    sources: Mapping[str, Artifact],
    environment: Environment,
    store: Store,
    events: EventBus,
    *,
    keep: Callable[[Outcome], None] | None = None,
    uncached: ExitStack | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Outcome:
    """Run every step of the plan that this machine can run, and return the records.

    A blocked step is recorded, and the steps that do not depend on it still run. A `CosybuildError` ends the run and
    becomes the failure of the outcome; the steps after it are recorded as not reached.

    Args:
        plan: the result of `make_plan` with the same request, sources, environment and store.
        request: the request of the build.
        sources: slot -> artifact, for the slots that are filled before the first step.
        environment: the facts of this machine.
        store: the store of results.
        events: receives all events as they happen.
        keep: called with the outcome so far after every step and at the end. So a run that is killed or ends by an
            exception has its record too. None for no call.
        uncached: keeps the files of steps that are never cached until it is closed. None keeps them until the end of
            this call.
        clock: the clock; tests give one that they control.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C. It is raised again after it was recorded.
        Exception: any other exception, which is a defect. It is raised again after it was recorded.
    """
    with ExitStack() as until_the_end:
        files = uncached or until_the_end
        files.enter_context(store.in_use())
        execution = _Execution(plan, request, sources, environment, store, events, keep, clock, files)
        try:
            return execution.run()
        finally:
            store.flush()


@dataclass
class _Execution:
    """The state of one run: the known artifacts, the blocked steps and the records so far."""

    plan: Plan
    request: Any
    sources: Mapping[str, Artifact]
    environment: Environment
    store: Store
    events: EventBus
    keep: Callable[[Outcome], None] | None
    clock: Clock
    until_the_end: ExitStack
    blocked: set[str] = field(default_factory=set)
    sound: set[str] = field(default_factory=set)
    records: list[StepRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.contents = {(SOURCE, slot): artifact for slot, artifact in self.sources.items()}
        self.digests = {slot: artifact.digest for slot, artifact in self.sources.items()}

    def run(self) -> Outcome:
        for step in self.plan.steps:
            self.events.emit("planned", step.label, verdict=step.status.verdict, reason=step.status.explain())
        for step in self.plan.steps:
            attempt = Attempt(step, self.clock)
            try:
                # Keep the record within `try`, so that Ctrl-C during the write is recorded like any other.
                if self.records:
                    self._keep(Outcome(tuple(self.records)))
                record = self._take(attempt)
            except CosybuildError as error:
                return self._end(attempt, failure_from_error(step.label, error))
            except BaseException as error:  # recorded and raised again: Ctrl-C, or a defect
                self._end(attempt, failure_from_error(step.label, error))
                raise
            self.contents.update({(step.label, slot): artifact for slot, artifact in record.outputs.items()})
            self.records.append(record)
        outcome = Outcome(tuple(self.records))
        self._keep(outcome)
        return outcome

    def _end(self, attempt: Attempt, failure: Failure) -> Outcome:
        why = "" if attempt.why is None else f"{attempt.why.explain()}; "
        self.records.append(attempt.record("failed", f"{why}{failure.message}"))
        self.events.emit("failed", failure.step, failure=failure.kind, message=failure.message, hint=failure.hint)
        for step in self.plan.steps[len(self.records) :]:
            reason = f"the build ended at '{failure.step}'"
            stage = step.stage
            self.records.append(StepRecord(step.label, stage.name, step.status, "not reached", reason, part=stage.part))
        outcome = Outcome(tuple(self.records), failure)
        self._keep(outcome)
        return outcome

    def _keep(self, outcome: Outcome) -> None:
        if self.keep is not None:
            self.keep(outcome)

    def _take(self, attempt: Attempt) -> StepRecord:
        """Take the result of a step from a store, or build it, or record that it is blocked.

        All steps before it must be done.
        """
        step, stage = attempt.step, attempt.step.stage
        attempt.inputs = {
            w.slot: self.contents[w.producer, w.origin] for w in step.wires if w.producer not in self.blocked
        }
        if lacking := blocked_inputs(step.wires, self.blocked):
            return self._block(attempt, lacking)
        key = attempt.key = key_of(stage, self.request, self.environment, attempt.inputs)
        if stage.cacheable:
            if (entry := self.store.find(key)) is not None:
                return self._cached(attempt, entry, "hit", _reason_of_hit(step))
            if (entry := self.store.pull(key)) is not None:
                return self._cached(attempt, entry, "pulled", PULLED)
        if lacks := stage.missing(self.request, self.environment):
            return self._block(attempt, lacks)
        if self._restore(attempt):
            return self._take(attempt)
        why = attempt.why = stale(stage, key, self.store)
        try:
            return self._build_cacheable(attempt, key, why) if stage.cacheable else self._build_each_time(attempt, why)
        except Exception:
            if self._restore(attempt):  # an input was removed or damaged while the step read it
                return self._take(attempt)
            raise

    def _restore(self, attempt: Attempt) -> bool:
        """Build missing or damaged stored inputs of a step again; return True if there were any.

        In a run, each stored file is read and checked once before a step reads it, even if its seal (`store.objects`)
        is intact.

        Raises:
            StoreError: inputs were lost more than `_RESTORED` times.
        """
        lost = set()
        for wire in attempt.step.wires:
            for file in () if wire.producer == SOURCE else attempt.inputs[wire.slot].files:
                if self.store.fault(file, known=file.digest in self.sound) is not None:
                    lost.add(wire.producer)
                self.sound.add(file.digest)
        if lost and attempt.restored >= _RESTORED:
            raise StoreError(
                f"The inputs of the step '{attempt.step.label}' were removed from the store {self.store.path} "
                f"{attempt.restored + 1} times.",
                hint="Next: run the same command again, and do not remove the store during a build",
            )
        attempt.restored += bool(lost)
        for label in sorted(lost):
            again = Attempt(self.plan.step(label), self.clock)
            record = self._take(again)
            self.contents.update({(label, slot): artifact for slot, artifact in record.outputs.items()})
            self.records[next(i for i, r in enumerate(self.records) if r.label == label)] = record
        return bool(lost)

    def _block(self, attempt: Attempt, lacks: tuple[str, ...]) -> StepRecord:
        self.blocked.add(attempt.step.label)
        self.events.emit("blocked", attempt.step.label, lacks=list(lacks))
        return attempt.record("blocked", f"needs {'; '.join(lacks)}")

    def _cached(self, attempt: Attempt, entry: Entry, action: Any, reason: str) -> StepRecord:
        attempt.warnings = entry.warnings
        record = attempt.record(action, reason, entry.outputs, entry.metrics, entry.made)
        self.events.emit("cached", attempt.step.label, action=action, reason=reason, seconds=record.seconds)
        return record

    def _build_cacheable(self, attempt: Attempt, key: CacheKey, why: Stale) -> StepRecord:
        label, stage = attempt.step.label, attempt.step.stage

        def on_wait(holder: str) -> None:
            self.events.emit("waiting", label, holder=holder)

        with self.store.building(key, on_wait=on_wait):
            if (entry := self.store.find(key)) is not None:
                return self._cached(attempt, entry, "hit", BUILT_MEANWHILE)
            with self.store.workdir(stage.name) as workdir:
                result, made = self._run_stage(attempt, why, workdir)
                with convert_machine_errors(label):
                    entry = self.store.publish(key, result, made)
        with convert_machine_errors(label):
            self.store.push(entry)
        return self._built(attempt, why, entry.outputs, entry.metrics, entry.made)

    def _build_each_time(self, attempt: Attempt, why: Stale) -> StepRecord:
        """Build a step without publishing its result. Later steps read its files, which are kept until the run ends."""
        workdir = self.until_the_end.enter_context(self.store.workdir(attempt.step.stage.name))
        result, made = self._run_stage(attempt, why, workdir)
        outputs = {slot: self.store.source(slot, *files) for slot, files in result.outputs.items()}
        return self._built(attempt, why, outputs, result.metrics, made)

    def _built(
        self,
        attempt: Attempt,
        why: Stale,
        outputs: Mapping[str, Artifact],
        metrics: Mapping[str, Any],
        made: Mapping[str, Any],
    ) -> StepRecord:
        record = attempt.record("built", why.explain(), outputs, metrics, made)
        self.sound.update(file.digest for artifact in outputs.values() for file in artifact.files)
        self.events.emit(
            "finished",
            attempt.step.label,
            seconds=record.seconds,
            peak_bytes=record.peak_bytes,
            outputs={slot: artifact.size for slot, artifact in outputs.items()},
        )
        return record

    def _run_stage(self, attempt: Attempt, why: Stale, workdir: Path) -> tuple[StageResult, dict[str, Any]]:
        prefix = in_part(attempt.step.stage.part, "")
        # A stage sees the sources of its part only; a source has no metrics.
        digests = {n.removeprefix(prefix): d for n, d in self.digests.items() if n.startswith(prefix)}
        metrics = {record.label: record.metrics for record in self.records}
        inputs = {w.slot: metrics[w.producer] for w in attempt.step.wires if w.producer in metrics}
        run = StageRun(attempt, why, self.request, self.store, self.events, self.clock, digests, inputs)
        return run.run(workdir)


def _reason_of_hit(step: Step) -> str:
    if isinstance(step.status, Unknown):
        return NO_CHANGE.format(", ".join(step.status.waits_for))
    return ALREADY_BUILT
