"""What is written down about each step of a build, for explanations, reports, replays and comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cosybuild.core.artifact import Artifact
from cosybuild.core.key import CacheKey, Reason
from cosybuild.core.status import Status

Action = Literal["hit", "pulled", "built", "blocked", "failed", "not reached"]
ACTIONS: tuple[Action, ...] = ("hit", "pulled", "built", "blocked", "failed", "not reached")


@dataclass(frozen=True)
class Input:
    """What a slot held: the step that made it (or `source`) and the digest of its content."""

    producer: str
    digest: str


@dataclass(frozen=True)
class Failure:
    """Why a build ended early.

    Attributes:
        step: the label of the step that failed.
        kind: the error's kind, e.g. `export`; `interrupted`; `defect`.
        message: what the user reads.
        hint: the next command, or None.
        exit_code: what the command ends with.
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
        label, stage: the step's and its stage's name.
        planned: the verdict before anything ran.
        action: what was done in the end.
        reason: why, in words.
        reasons: the named ingredients that changed, for a step that ran; empty on a first build.
        started: seconds since the epoch; None for a step that was not reached.
        seconds: spent on it in this run.
        peak_bytes: growth of the process's memory while it was built; None where nothing was built or
            it cannot be measured.
        key: None where an input's content was never known.
        inputs: slot -> what it held; only those whose content was known.
        outputs: name -> artifact; their paths lie in the store.
        metrics: what the stage measured when it was built.
        environment: the facts of the machine that are part of the key.
        made: when, where and in how many seconds the outputs were built; empty where there are none.
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


@dataclass(frozen=True)
class Outcome:
    """A run, as far as it came.

    Attributes:
        records: one a step, in the order of the plan.
        failure: what ended it early, or None.
    """

    records: tuple[StepRecord, ...]
    failure: Failure | None = None

    def record(self, label: str) -> StepRecord:
        """The record of the step of that label.

        Raises:
            KeyError: there is none.
        """
        for record in self.records:
            if record.label == label:
                return record
        raise KeyError(label)

    def doing(self, action: Action) -> tuple[StepRecord, ...]:
        """The records with that action."""
        return tuple(record for record in self.records if record.action == action)
