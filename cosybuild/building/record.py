"""Records of the steps of a build, for explanations, reports, replays and comparisons."""

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
    """The content of an input slot: the label of its producer (or `source`) and its digest."""

    producer: str
    digest: str


@dataclass(frozen=True)
class Failure:
    """The error that ended a build early.

    Attributes:
        step: the label of the step that failed.
        kind: the error's kind, e.g. `export`; `interrupted`; `defect`.
        message: the message for the user.
        hint: the next command, or None.
        exit_code: the exit code of the command.
    """

    step: str
    kind: str
    message: str
    hint: str | None
    exit_code: int


@dataclass(frozen=True)
class StepRecord:
    """One step of one run.

    Attributes:
        label, stage: the names of the step and of its stage.
        planned: the verdict of the plan.
        action: the action that the runner took.
        reason: the reason for the action, in words.
        reasons: the parts of the key that changed, for a step that ran; empty on a first build.
        started: seconds since the epoch; None for a step that was not reached.
        seconds: time spent on the step in this run.
        peak_bytes: growth of the process's memory while the step was built; None if nothing was built or
            it cannot be measured.
        key: the cache key; None if an input's content was never known.
        inputs: slot -> input; only inputs whose content was known.
        outputs: slot -> artifact; the files are in the store or, for a step that is never cached, in its working
            directory.
        metrics: the figures that the stage measured when it was built.
        environment: the facts of the machine that are parts of the key.
        made: time, host and duration of the build of the outputs; empty if there are none.
        warnings: the warnings for the user while the outputs were built, in this run or an earlier one.
        part: the part of a joint build; empty for a step of the whole build.
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
    """The records of a run, which may have ended early.

    Attributes:
        records: one for each step, in the order of the plan.
        failure: the error that ended the run early, or None.
    """

    records: tuple[StepRecord, ...]
    failure: Failure | None = None

    def record(self, label: str) -> StepRecord:
        """Return the record of the step with this label.

        Raises:
            KeyError: there is none.
        """
        return {record.label: record for record in self.records}[label]

    def doing(self, action: Action) -> tuple[StepRecord, ...]:
        """Return the records with this action."""
        return tuple(record for record in self.records if record.action == action)
