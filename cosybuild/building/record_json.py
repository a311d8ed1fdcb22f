"""Plans and outcomes as JSON: `steps` of `plan.json`, and `steps` and `failure` of `report.json`.

The classes below declare the fields of the JSON. They have the fields of the build's data, and also the digests of keys
and artifacts, which the build computes. A verdict also has the field `text`, a sentence. Times are seconds since the
epoch, durations seconds, sizes bytes, digests sha256 in hex.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from cosybuild.building.plan import Plan
from cosybuild.building.record import Failure, Outcome, StepRecord
from cosybuild.building.status import Status
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.store.key import CacheKey
from cosybuild.system.typed_json import from_json, to_json


@dataclass(frozen=True)
class _Key:
    stage: str
    digest: str
    parts: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.digest != (digest := self.key().digest):
            raise ValueError(f"has digest {self.digest!r}, and its parts have {digest!r}")

    def key(self) -> CacheKey:
        return CacheKey(self.stage, self.parts)


@dataclass(frozen=True)
class _File:
    name: str
    path: str
    digest: str
    size: int


@dataclass(frozen=True)
class _Artifact:
    digest: str
    files: Annotated[tuple[_File, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        if self.digest != (digest := self.artifact("").digest):
            raise ValueError(f"has digest {self.digest!r}, and its files have {digest!r}")

    def artifact(self, name: str) -> Artifact:
        return Artifact(name, tuple(StoredFile(f.name, Path(f.path), f.digest, f.size) for f in self.files))


@dataclass(frozen=True)
class _Recorded(StepRecord):
    """The record of a step, with the key and the outputs in their JSON form."""

    key: _Key | None = None  # type: ignore[assignment]
    outputs: Mapping[str, _Artifact] = field(default_factory=dict)  # type: ignore[assignment]


@dataclass(frozen=True)
class _Outcome:
    failure: Failure | None
    steps: tuple[_Recorded, ...]


def json_from_outcome(outcome: Outcome) -> Mapping[str, Any]:
    """Convert an outcome to plain data: the fields `failure` and `steps` of report.json."""
    return {
        "failure": to_json(outcome.failure),
        "steps": [{**to_json(_recorded(r)), "planned": _json_from_status(r.planned)} for r in outcome.records],
    }


def outcome_from_json(plain: Mapping[str, Any], where: str) -> Outcome:
    """Convert an object with the fields `failure` and `steps`, such as a report, to an outcome.

    Args:
        plain: the object.
        where: the path of the object, for the error.

    Raises:
        ConfigurationError: a field is missing or of the wrong type; the message names it.
    """
    found = from_json(plain, _Outcome, where)
    return Outcome(tuple(_record(step) for step in found.steps), found.failure)


def json_from_plan(plan: Plan) -> Sequence[Mapping[str, Any]]:
    """Convert the steps of a plan to plain data: the field `steps` of plan.json."""
    return [
        {
            "label": step.label,
            "stage": step.stage.name,
            "verdict": _json_from_status(step.status),
            "key": to_json(_key(step.key)),
            "inputs": {w.slot: {"producer": w.producer, "origin": w.origin} for w in step.wires},
            "expected": to_json(step.expected),
        }
        for step in plan.steps
    ]


def _json_from_status(status: Status) -> Mapping[str, Any]:
    return {**to_json(status), "text": status.explain()}


def _key(key: CacheKey | None) -> _Key | None:
    return None if key is None else _Key(key.stage, key.digest, key.parts)


def _recorded(record: StepRecord) -> _Recorded:
    outputs = {
        name: _Artifact(artifact.digest, tuple(_File(f.name, str(f.path), f.digest, f.size) for f in artifact.files))
        for name, artifact in record.outputs.items()
    }
    return _Recorded(**{**vars(record), "key": _key(record.key), "outputs": outputs})


def _record(step: _Recorded) -> StepRecord:
    outputs = {name: artifact.artifact(name) for name, artifact in step.outputs.items()}
    return StepRecord(**{**vars(step), "key": None if step.key is None else step.key.key(), "outputs": outputs})
