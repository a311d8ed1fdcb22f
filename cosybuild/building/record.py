"""The records of the steps of a build. Explanations, reports, replays and comparisons are made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cosybuild.building.status import Status
from cosybuild.store.artifact import Artifact
from cosybuild.store.key import CacheKey, Reason

Action = Literal["hit", "pulled", "built", "blocked", "failed", "not reached"]


@dataclass(frozen=True)
class Input:
    """The content of one input slot of a step.

    Attributes:
        producer: the label of the step that made the content, or `source` for a file of the user.
        digest: the digest of the content.
    """

    producer: str
    digest: str


@dataclass(frozen=True)
class Failure:
    """The error that ended a build early.

    Attributes:
        step: the label of the step that failed; an empty text if no step did.
        kind: the kind of the error, e.g. `export`; `interrupted`; `defect`.
        message: the message for the user.
        hint: the sentence that tells the user which command to run next; None if there is none.
        exit_code: the exit code of the command.
    """

    step: str
    kind: str
    message: str
    hint: str | None
    exit_code: int


@dataclass(frozen=True)
class StepRecord:
    """The record of one step of one run.

    Attributes:
        label: the name of the step.
        stage: the name of its stage.
        planned: the verdict of the plan.
        action: the action of the runner.
        reason: the reason for the action, in words.
        reasons: for a step that ran, the parts of the key that changed; empty on a first build.
        started: the start in seconds since the epoch; None for a step that was not reached.
        seconds: the time in seconds that this run spent on the step.
        peak_bytes: the growth of the process's memory, in bytes, while the step was built; None if nothing was built or
            it cannot be measured.
        key: the cache key; None if the content of an input was never known.
        inputs: slot -> input, for the inputs whose content was known.
        outputs: slot -> artifact. The files are in the store or, for a step that is never cached, in its working
            directory.
        metrics: the measurements of the stage when it was built.
        environment: the facts of the machine that are parts of the key.
        made: time, host and duration of the build of the outputs; empty if there are none.
        warnings: the warnings that were given while the outputs were built, in this run or an earlier one.
        part: the name of the network in a joint build of several networks; empty for a step of the whole build.
    """

    label: str
    stage: str
    planned: Status
    action: Action
    reason: str
    reasons: tuple[Reason, ...] = ()
    started: float | None = None
    seconds: float = 0.0
    peak_bytes: int | None = None
    key: CacheKey | None = None
    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: Mapping[str, Artifact] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    part: str = ""


@dataclass(frozen=True)
class Outcome:
    """The records of all steps of a run, which may have ended early.

    Attributes:
        records: one record for each step, in the order of the plan.
        failure: the error that ended the run early; None if there was none.
    """

    records: tuple[StepRecord, ...]
    failure: Failure | None = None

    def record(self, label: str) -> StepRecord:
        """Return the record of the step with this label.

        Raises:
            KeyError: there is no such step.
        """
        return {record.label: record for record in self.records}[label]

    def doing(self, action: Action) -> tuple[StepRecord, ...]:
        """Return the records with this action."""
        return tuple(record for record in self.records if record.action == action)
