"""Records are equal after they are written and read, and the error names a damaged one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cosybuild.building.record import Failure, Outcome, StepRecord
from cosybuild.building.record_json import json_from_outcome, json_from_plan, outcome_from_json
from cosybuild.building.stage import RunContext
from cosybuild.building.status import Blocked, Hit, Stale, Unknown
from cosybuild.errors import ConfigurationError, ExportError
from cosybuild.store.key import Reason
from cosybuild.store.result import StageResult
from cosybuild.system.json_records import CHECKSUM, checksum_of, read_record, write_record
from tests.building.fakes import Bench, pipeline

REQUEST = {"opset": 18, "profile": "lang é \udc80"}


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Write an outcome in a report with other fields."""
    write_record(path, "report", {**json_from_outcome(outcome), "config": {}})


def read_outcome(path: Path) -> Outcome:
    return outcome_from_json(read_record(path, "report"), str(path))


def test_a_plan_as_json_states_which_steps_would_run_and_why(bench: Bench) -> None:
    bench.build(pipeline(), REQUEST)
    stages = pipeline(engine={"lacks": ("a GPU",)}, verify={"cacheable": False})
    plan = bench.plan(stages, {**REQUEST, "rounds": 4})
    plain = json.loads(json.dumps(json_from_plan(plan)))
    assert {type(step.status) for step in plan.steps} == {Hit, Stale, Unknown, Blocked}
    for step, said in zip(plan.steps, plain, strict=True):
        assert (said["label"], said["stage"]) == (step.label, step.stage.name)
        assert (said["verdict"]["verdict"], said["verdict"]["text"]) == (step.status.verdict, step.status.explain())
        assert said["inputs"] == {wire.slot: {"producer": wire.producer, "origin": wire.origin} for wire in step.wires}
        assert (said["key"] or {}).get("digest") == (step.key and step.key.digest)
        assert (said["key"] or {}).get("parts") == (step.key and dict(step.key.parts))
        expected = step.expected
        assert (said["expected"] or {}).get("seconds") == (expected and expected.seconds)
    told = {said["verdict"]["verdict"]: said["verdict"] for said in plain}
    assert {"part": "settings.rounds", "old": "(absent)", "new": "4"} in told["stale"]["reasons"]
    assert told["unknown"]["waits_for"] == ["graph"]
    assert told["blocked"]["lacks"] == ["a GPU"]


def test_an_outcome_is_read_back(bench: Bench, tmp_path: Path) -> None:
    def fail(context: RunContext) -> StageResult:
        raise ExportError("no", hint=None)

    stages = pipeline(export={"lacks": ()}, verify={"work": fail})
    stages[1].work = lambda context: stages[1].write(context, "x", nodes={"before": 7, "after": [1.5, None, True]})
    write_outcome(tmp_path / "a.json", outcome := bench.build(stages, REQUEST))
    assert outcome.failure is not None
    assert read_outcome(tmp_path / "a.json") == outcome
    stages[2].work = None
    stages[3].lacks = ("a GPU",)
    write_outcome(tmp_path / "b.json", outcome := bench.build(stages, {**REQUEST, "opset": 17}))
    assert {record.action for record in outcome.records} == {"built", "blocked"}
    assert read_outcome(tmp_path / "b.json") == outcome


def test_an_outcome_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "outcome.json"
    ended = Failure("export", "export", "The export failed.", "Next: python -m cosybuild options", 4)
    for failure in (None, Failure("export", "defect", "KeyError: 'x'", None, 70), ended):
        outcome = Outcome((StepRecord("export", "export", Hit(), "hit", "", (Reason("a", "b", "c"),)),), failure)
        write_outcome(path, outcome)
        assert read_outcome(path) == outcome
    assert [p.name for p in tmp_path.iterdir()] == ["outcome.json"]


def _without(*way: Any) -> Any:
    def change(plain: Any) -> None:
        for name in way[:-1]:
            plain = plain[name]
        del plain[way[-1]]

    return change


def _with(value: Any, *way: Any) -> Any:
    def change(plain: Any) -> None:
        for name in way[:-1]:
            plain = plain[name]
        plain[way[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_with(2, "schema"), "schema 2; expected kind 'report', schema 1"),
        (_with("plan", "kind"), "kind 'plan'"),
        (_without("steps"), "steps is missing"),
        (_with(7, "steps", 1), r"steps\[1\] should be an object and is 7"),
        (_without("steps", 0, "label"), r"steps\[0\]\.label is missing"),
        (
            _with("done", "steps", 0, "action"),
            r"steps\[0\]\.action should be one of blocked, built, .* and is 'done'",
        ),
        (
            _with("17", "steps", 0, "key", "parts", "settings.opset"),
            r"steps\[0\]\.key has digest '[0-9a-f]{64}', and its parts have '[0-9a-f]{64}'",
        ),
        (
            _with("maybe", "steps", 0, "planned", "verdict"),
            r"planned\.verdict should be one of hit, stale, unknown, blocked and is 'maybe'",
        ),
        (_with(True, "steps", 0, "seconds"), r"seconds should be a number and is True"),
        (
            _with([], "steps", 0, "outputs", "graph", "files"),
            r"outputs\.graph\.files should be a list of length >= 1 and is \[\]",
        ),
        (
            _with("0" * 64, "steps", 0, "outputs", "graph", "digest"),
            r"outputs\.graph has digest '0{64}', and its files have '[0-9a-f]{64}'",
        ),
        (_with([1], "steps", 1, "planned", "waits_for"), r"planned\.waits_for\[0\] should be text and is 1"),
        (_with({"step": "x"}, "failure"), r"failure\.kind is missing"),
        (
            _with({"step": "x", "kind": "y", "message": "z", "hint": 7, "exit_code": 4}, "failure"),
            r"failure\.hint should be text or null and is 7",
        ),
        (
            _with({"step": "x", "kind": "y", "message": "z", "hint": None, "exit_code": "4"}, "failure"),
            r"failure\.exit_code should be a whole number and is '4'",
        ),
    ],
)
def test_the_error_names_a_damaged_outcome(bench: Bench, tmp_path: Path, change: Any, words: str) -> None:
    path = tmp_path / "outcome.json"
    write_outcome(path, bench.build(pipeline(), REQUEST))
    plain = json.loads(path.read_text())
    change(plain)
    # A complete record of another form, as another version would write it.
    del plain[CHECKSUM]
    path.write_text(json.dumps({**plain, CHECKSUM: checksum_of(plain)}))
    with pytest.raises(ConfigurationError, match=words):
        read_outcome(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7"])
def test_the_error_names_a_file_that_is_no_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "outcome.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"outcome\.json"):
        read_outcome(path)
    with pytest.raises(ConfigurationError, match=r"cannot be read as the report"):
        read_outcome(tmp_path / "absent.json")
