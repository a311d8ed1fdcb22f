"""Conversion of plans and outcomes to JSON (parts of `plan.json` and `report.json`), and of outcomes from JSON.

    plan          [{"label", "stage", "verdict": VERDICT, "key": KEY | null,
                    "inputs": {slot: {"producer", "origin"}},
                    "expected": {"seconds", "bytes", "peak_bytes", "builds"} | null}]
    outcome       {"failure": FAILURE | null, "steps": [
                     {"label", "stage", "planned": VERDICT, "action", "reason", "reasons": [REASON],
                      "started", "seconds", "peak_bytes", "key": KEY | null,
                      "inputs": {slot: {"producer", "digest"}},
                      "outputs": {name: {"digest", "files": [{"name", "path", "digest", "size"}]}},
                      "metrics", "environment", "made"}]}

    VERDICT  {"verdict": "hit"} | {"verdict": "stale", "reasons": [REASON], "note"}
             | {"verdict": "unknown", "waits_for": [slot]} | {"verdict": "blocked", "lacks": [text]}
             each with "text", the same in words
    REASON   {"part", "old", "new"}
    KEY      {"stage", "digest", "parts": {name: value}}
    FAILURE  {"step", "kind", "message", "hint", "exit_code"}

Times are seconds since the epoch, durations seconds, sizes bytes, digests sha256 in hex.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cosybuild.building.plan import Plan
from cosybuild.building.record import ACTIONS, Failure, Input, Outcome, StepRecord
from cosybuild.building.status import Blocked, Hit, Stale, Status, Unknown
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.store.key import CacheKey, Reason
from cosybuild.system.json_records import JsonReader


def json_from_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome as plain data: `failure` and `steps` of a report."""
    failure = None if outcome.failure is None else dataclasses.asdict(outcome.failure)
    return {"failure": failure, "steps": [_json_from_record(r) for r in outcome.records]}


def outcome_from_json(plain: JsonReader) -> Outcome:
    """Return the outcome in an object that has `failure` and `steps`, such as a report.

    Raises:
        ConfigurationError: a field is missing or of the wrong type; the message names it.
    """
    failure = plain.optional_object("failure")
    return Outcome(
        tuple(_record(step) for step in plain.objects("steps")), None if failure is None else _failure(failure)
    )


def json_from_plan(plan: Plan) -> list[dict[str, Any]]:
    """Return the plan's steps as plain data."""
    return [
        {
            "label": step.label,
            "stage": step.stage.name,
            "verdict": _json_from_status(step.status),
            "key": _json_from_key(step.key),
            "inputs": {w.slot: {"producer": w.producer, "origin": w.origin} for w in step.wires},
            "expected": None if step.expected is None else dataclasses.asdict(step.expected),
        }
        for step in plan.steps
    ]


def _json_from_record(record: StepRecord) -> dict[str, Any]:
    return {
        "label": record.label,
        "stage": record.stage,
        "planned": _json_from_status(record.planned),
        "action": record.action,
        "reason": record.reason,
        "reasons": _json_from_reasons(record.reasons),
        "started": record.started,
        "seconds": record.seconds,
        "peak_bytes": record.peak_bytes,
        "key": _json_from_key(record.key),
        "inputs": {slot: dataclasses.asdict(value) for slot, value in record.inputs.items()},
        "outputs": {name: _json_from_artifact(artifact) for name, artifact in record.outputs.items()},
        "metrics": dict(record.metrics),
        "environment": dict(record.environment),
        "made": dict(record.made),
    }


def _record(plain: JsonReader) -> StepRecord:
    action = plain.text("action")
    if action not in ACTIONS:
        raise plain.at("action").wrong(f"one of {', '.join(ACTIONS)}", action)
    return StepRecord(
        label=plain.text("label"),
        stage=plain.text("stage"),
        planned=_status(plain.object("planned")),
        action=action,
        reason=plain.text("reason"),
        reasons=_reasons(plain),
        started=plain.optional_number("started"),
        seconds=plain.number("seconds"),
        peak_bytes=plain.optional_count("peak_bytes"),
        key=_key(plain.optional_object("key")),
        inputs={s: Input(i.text("producer"), i.text("digest")) for s, i in plain.object("inputs").items()},
        outputs={name: _artifact(name, value) for name, value in plain.object("outputs").items()},
        metrics=plain.object("metrics").raw(),
        environment=plain.object("environment").text_items(),
        made=plain.object("made").raw(),
    )


def _failure(plain: JsonReader) -> Failure:
    return Failure(
        plain.text("step"),
        plain.text("kind"),
        plain.text("message"),
        plain.get("hint", str, null=True),
        plain.get("exit_code", int),
    )


def _json_from_artifact(artifact: Artifact) -> dict[str, Any]:
    files = [{"name": f.name, "path": str(f.path), "digest": f.digest, "size": f.size} for f in artifact.files]
    return {"digest": artifact.digest, "files": files}


def _artifact(name: str, plain: JsonReader) -> Artifact:
    files = tuple(
        StoredFile(file.text("name"), Path(file.text("path")), file.text("digest"), file.get("size", int))
        for file in plain.objects("files")
    )
    if not files:
        raise plain.at("files").wrong("a list of at least one file", [])
    artifact = Artifact(name, files)
    if artifact.digest != plain.text("digest"):
        raise plain.at("digest").wrong(f"the digest of its files, {artifact.digest}", plain.text("digest"))
    return artifact


def _json_from_key(key: CacheKey | None) -> dict[str, Any] | None:
    return None if key is None else {"stage": key.stage, "digest": key.digest, "parts": dict(key.parts)}


def _key(plain: JsonReader | None) -> CacheKey | None:
    if plain is None:
        return None
    key = CacheKey(plain.text("stage"), plain.object("parts").text_items())
    if key.digest != plain.text("digest"):
        raise plain.at("digest").wrong(f"the digest of its parts, {key.digest}", plain.text("digest"))
    return key


def _json_from_reasons(reasons: Sequence[Reason]) -> list[dict[str, str]]:
    return [{"part": reason.part, "old": reason.old, "new": reason.new} for reason in reasons]


def _reasons(plain: JsonReader) -> tuple[Reason, ...]:
    return tuple(Reason(r.text("part"), r.text("old"), r.text("new")) for r in plain.objects("reasons"))


def _json_from_status(status: Status) -> Mapping[str, Any]:
    plain: dict[str, Any] = {"verdict": status.verdict, "text": status.explain()}
    if isinstance(status, Stale):
        plain.update(reasons=_json_from_reasons(status.reasons), note=status.note)
    elif isinstance(status, Unknown):
        plain.update(waits_for=list(status.waits_for))
    elif isinstance(status, Blocked):
        plain.update(lacks=list(status.lacks))
    return plain


def _status(plain: JsonReader) -> Status:
    verdict = plain.text("verdict")
    if verdict == Hit.verdict:
        return Hit()
    if verdict == Stale.verdict:
        return Stale(_reasons(plain), plain.text("note"))
    if verdict == Unknown.verdict:
        return Unknown(plain.texts("waits_for"))
    if verdict == Blocked.verdict:
        return Blocked(plain.texts("lacks"))
    raise plain.at("verdict").wrong("one of hit, stale, unknown, blocked", verdict)
