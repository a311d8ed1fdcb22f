"""The state of a step while the runner works on it. With this state, a failed step has a full record too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cosybuild.building.plan import Step
from cosybuild.building.record import Action, Input, StepRecord
from cosybuild.building.status import Stale
from cosybuild.store.artifact import Artifact
from cosybuild.store.key import CacheKey
from cosybuild.system.clock import Clock

_ENVIRONMENT = "environment."


class Attempt:
    """One step of a running build.

    Attributes:
        step: the step of the plan.
        inputs: slot -> artifact, for the inputs whose content is known.
        key: the cache key; None until all inputs are known.
        why: the reason why the stage runs; None until it is clear that it must run.
        peak_bytes: the growth of memory in bytes; None until the stage has run or failed.
        restored: the number of times that lost inputs were built again for this step.
        warnings: the warnings for the user so far; for a cached step, those of its build.
    """

    def __init__(self, step: Step, clock: Clock) -> None:
        self.step = step
        self.inputs: Mapping[str, Artifact] = {}
        self.key: CacheKey | None = None
        self.why: Stale | None = None
        self.peak_bytes: int | None = None
        self.restored = 0
        self.warnings: Sequence[str] = ()
        self._clock = clock
        self._started = clock.now()
        self._begin = clock.elapsed()

    def record(
        self,
        action: Action,
        reason: str,
        outputs: Mapping[str, Artifact] | None = None,
        metrics: Mapping[str, Any] | None = None,
        made: Mapping[str, Any] | None = None,
    ) -> StepRecord:
        """Return the step's record with this action; `StepRecord` explains the fields.

        Args:
            action: the way in which the step ended, e.g. `built`.
            reason: the reason for the action, in words.
            outputs: slot -> artifact; None for none.
            metrics: the measurements of the stage; None for none.
            made: time, host and duration of the build of the outputs, which an earlier run may have made; None if there
                are no outputs.
        """
        parts = {} if self.key is None else self.key.parts
        return StepRecord(
            label=self.step.label,
            stage=self.step.stage.name,
            planned=self.step.status,
            action=action,
            reason=reason,
            reasons=self.why.reasons if self.why is not None and action in ("built", "failed") else (),
            started=self._started,
            seconds=self._clock.elapsed() - self._begin,
            peak_bytes=self.peak_bytes,
            key=self.key,
            inputs={
                w.slot: Input(w.producer, self.inputs[w.slot].digest) for w in self.step.wires if w.slot in self.inputs
            },
            outputs=dict(outputs or {}),
            metrics=dict(metrics or {}),
            environment={
                name.removeprefix(_ENVIRONMENT): v for name, v in parts.items() if name.startswith(_ENVIRONMENT)
            },
            made=dict(made or {}),
            warnings=tuple(self.warnings),
            part=self.step.stage.part,
        )
