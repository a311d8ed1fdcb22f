"""The sentences of a report about artifacts that were not run, and those that the console has too."""

from __future__ import annotations

from typing import Any

import pytest

from cosybuild.report.markdown import markdown
from cosybuild.report.remarks import checks, remarks, verdict, warnings_of

ENGINE_REMARK = "engine sm_89: not run here; run the same command on a machine with that GPU to verify it."


def step(label: str, stage: str, action: str = "built", host: str = "here", **inputs: str) -> dict[str, Any]:
    given = {slot: {"producer": "x", "digest": digest} for slot, digest in inputs.items()}
    made = {"at": "2026-01-01T00:00:00+00:00", "seconds": 1.0, "peak_bytes": 1, "host": host}
    return {"label": label, "stage": stage, "action": action, "reason": "needs a GPU", "inputs": given, "metrics": {},
            "made": made, "seconds": 1.0, "peak_bytes": 1, "warnings": []}  # fmt: skip


def artifact(path: str, digest: str, made_by: str, *verified_by: str) -> dict[str, Any]:
    return {"path": path, "size": 1, "made_by": made_by, "digest": digest, "verified_by": list(verified_by)}


def report(host: str = "here", **others: Any) -> dict[str, Any]:
    """Return a report of a verified graph and an engine that no GPU here can run."""
    return {
        "status": "ok", "verified": True, "started": 1_700_000_000.0, "seconds": 1.0, "config_digest": "0" * 64,
        "overrides": [], "failure": None,
        "model": {"family": "module", "origin": None, "streaming": False, "weights": "w.pt", "weights_digest": None,
                  "random_weights": False, "inputs": [], "outputs": [], "notes": []},
        "steps": [step("export", "export"), step("verify", "verify", host=host, graph="g"),
                  step("engine sm_89", "engine", lowered="g")],
        "artifacts": [artifact("g.onnx", "g", "export", "verify"), artifact("e.engine", "e", "engine sm_89")],
        "environment": {"machine": {"host": "here"}, "versions": {}},
        **others,
    }  # fmt: skip


def test_an_engine_that_was_not_run_is_inspected_only_and_the_verdict_is_in_part() -> None:
    assert checks(report()) == {"g.onnx": "executed", "e.engine": "graph executed, engine only inspected"}
    assert verdict(report()) == "in part (see Artifacts)"
    assert list(remarks(report())) == [ENGINE_REMARK]


def test_an_engine_that_was_run_is_executed_and_the_verdict_is_yes() -> None:
    run = report()
    run["steps"].append(step("verify engine sm_89", "verify_engine", engine_sm89="e"))
    run["artifacts"][1]["verified_by"] = ["verify engine sm_89"]
    assert set(checks(run).values()) == {"executed"}
    assert verdict(run) == "yes"
    assert list(remarks(run)) == []


def test_a_verification_by_another_machine_names_it() -> None:
    assert checks(report(host="builder-7"))["g.onnx"] == "executed on builder-7"


def test_an_engine_of_a_graph_that_was_not_run_is_not_checked() -> None:
    run = report(verified=None)
    run["artifacts"][0]["verified_by"] = []
    assert set(checks(run).values()) == {"not checked"}
    assert verdict(run) == "not requested"


def test_a_record_of_an_earlier_release_has_no_verification_of_its_artifacts() -> None:
    run = report()
    for one in run["artifacts"]:
        del one["verified_by"]
    assert set(checks(run).values()) == {"not checked"}


def test_a_blocked_step_and_random_weights_are_remarks() -> None:
    run = report()
    run["model"] |= {"random_weights": True, "weights": "random(seed=0)"}
    run["steps"].append(step("verify engine sm_89", "verify_engine", "blocked"))
    for family, given in (("module", "model.weights=FILE"), ("cosyvoice2", "model_dir=DIR")):
        run["model"]["family"] = family
        first, last = remarks(run)
        assert first == f"The weights are random(seed=0): give {given} to build a trained model."
    assert last == "pending: verify engine sm_89 needs a GPU"


def test_a_warning_that_is_also_a_measurement_is_listed_once() -> None:
    warned = step("engine sm_89", "engine") | {"warnings": ["a", "b"], "metrics": {"warnings": ["b", "c"]}}
    assert warnings_of(warned) == ["a", "b", "c"]


@pytest.mark.parametrize(("name", "value", "lines"), [
    ("warnings", ["the store was not writable"], ["## Warnings", "- the store was not writable"]),
    ("deployment", {"failure": "the directory is not writable"},
     ["## Deployment", "**The deployment failed**: the directory is not writable"]),
    ("deployment", {"dir": "/srv", "service": "bundle", "backup": 3, "files": {"a.onnx": "0"}, "retired": ["b.onnx"],
                    "forced": ["it was not verified"]},
     ["Deployed to `/srv` (bundle), backup 0003.", "- `a.onnx`", "- forced: it was not verified"]),
    ("profiles", [{"seq_len": {"sizes": [4, 500, 3000], "per_second": 50.0}}],
     ["## Profiles", "| 0 | seq_len | 4 (0.08 s) | 500 (10 s) | 3000 (60 s) |"]),
])  # fmt: skip
def test_the_report_has_a_section_for_each_outcome(name: str, value: Any, lines: list[str]) -> None:
    text = markdown(report(**{name: value})).splitlines()
    assert [line for line in lines if line not in text] == []


def test_the_report_has_the_remarks_the_date_and_the_verification_of_each_artifact() -> None:
    text = markdown(report())
    assert f"- {ENGINE_REMARK}" in text
    assert "| started | 2023-11-14 22:13:20 UTC |" in text
    assert "| `e.engine` | 1 B | engine sm_89 | graph executed, engine only inspected | `e` |" in text


def test_each_node_that_stays_in_float32_has_its_reason() -> None:
    run = report()
    run["steps"][2]["stage"] = "lower"
    nodes = [{"node": "/Sin", "op": "Sin", "module": ""}]
    run["steps"][2]["metrics"] = {"kept_fp32": [{"reason": "a phase", "count": 3, "nodes": nodes}]}
    assert "| a phase | 3 | `/Sin`, and 2 more |" in markdown(run)


@pytest.mark.parametrize(("part", "path"), [
    (None, "artifacts/precision.yaml"),
    ("vocoder", "artifacts/vocoder.precision.yaml"),
])  # fmt: skip
def test_the_result_of_a_search_is_named_by_its_part(part: str | None, path: str) -> None:
    run, found = report(), {"nodes": [{"node": "/Sin", "op": "Sin", "module": ""}], "evaluations": 3, "candidates": 4}
    found |= {"minimal": True, "cost": {"flops_share": 0.5, "casts": 2}}
    run["steps"][2] |= {"part": part, "stage": "lower", "metrics": {"search": found}}
    assert f"`{path}` has the result as an option of the group precision." in markdown(run)


def test_sizes_that_the_lowered_graph_was_not_run_at_are_named() -> None:
    run = report()
    run["steps"].append(step("verify lowered", "verify_lowered", lowered="g"))
    run["steps"][-1]["metrics"] = {"left_out": ["seq_len=3000 (profile max)"], "cases": [], "worst": {}}
    assert "verify lowered, not run: seq_len=3000 (profile max)" in markdown(run)
