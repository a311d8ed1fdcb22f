"""Figures come from the last verification and from the built artifacts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cosybuild.report.sweep_figures import FIGURES, error_by_length, figures, latency_by_length
from cosybuild.report.sweep_table import figure_text


def step(stage: str, metrics: dict[str, Any], seconds: float = 2.0) -> dict[str, Any]:
    return {"stage": stage, "label": stage, "metrics": metrics, "made": {"seconds": seconds}}


def report(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"steps": list(steps), "artifacts": [{"name": "a.fp32.onnx", "size": 9}, {"name": "a.fp16.onnx", "size": 5}]}


VERIFIED = step("verify", {"worst": {"max_rel": 1e-5, "snr_db": 110.0}})
LOWERED = step("verify_lowered", {"worst": {"max_rel": 2e-2, "snr_db": 47.0}})
ENGINE = step("engine", {"activation_bytes": {"value": [3, 8]}, "size_bytes": {"value": 7}})


def test_a_run_with_a_graph_alone_has_its_figures() -> None:
    found = figures(report(step("export", {"nodes": 30}), step("simplify", {"nodes_after": 20}), VERIFIED))
    assert found == {
        "error": 1e-5, "snr_db": 110.0, "latency": None, "size": 5, "memory": None, "nodes": 20, "build_time": 6.0,
    }  # fmt: skip


def test_figures_of_an_engine_and_a_lowered_graph_replace_those_of_the_graph() -> None:
    found = figures(report(step("export", {"nodes": 30}), VERIFIED, LOWERED, ENGINE))
    assert (found["error"], found["size"], found["memory"]) == (2e-2, 7, 8)


def test_the_size_of_an_ir_is_that_of_a_run_without_an_engine() -> None:
    ir = step("openvino", {"size_bytes": 4})
    assert figures(report(step("export", {"nodes": 30}), VERIFIED, ir))["size"] == 4
    assert figures(report(step("export", {"nodes": 30}), VERIFIED, ENGINE, ir))["size"] == 7


@pytest.mark.attack("malformed", "the record is refused, because the figure is no number")
@pytest.mark.parametrize("value", [[], {}, "9", [1]], ids=repr)
def test_a_size_that_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"the figure size is .*, not a number"):
        figures(report(step("openvino", {"size_bytes": value})))
    with pytest.raises(ValueError, match=r"the figure size is .*, not a number"):
        figures({"steps": [VERIFIED], "artifacts": [{"name": "a.fp32.onnx", "size": value}]})


def test_a_run_without_verification_has_no_error_figure() -> None:
    assert figures(report(step("export", {"nodes": 30})))["error"] is None


EXACT = {"error": 0.0, "snr_db": math.inf}


@pytest.mark.parametrize(
    ("stage", "worst", "expected"),
    [
        ("verify", {"max_abs": 0.0, "max_rel": 0.0, "case": "a", "snr_db": "Infinity"}, EXACT),
        ("verify_lowered", {"max_rel": 0.0, "snr_db": "Infinity"}, EXACT),
        ("verify", {}, {"error": None, "snr_db": None}),
        # the form of older records
        ("verify", {"max_abs": 0.0, "case": "a", "snr_db": None}, EXACT),
        ("verify_lowered", {"max_rel": 0.0, "snr_db": 1e9}, EXACT),
        ("verify_engine", {"max_abs": 0.0, "max_rel": 0.0, "snr_db": None}, EXACT),
        ("verify", {"max_abs": 0.0, "case": "", "snr_db": None}, {"error": None, "snr_db": None}),
    ],
)
def test_an_error_of_zero_is_a_figure(stage: str, worst: dict[str, Any], expected: dict[str, float | None]) -> None:
    found = figures(report(step(stage, {"worst": worst})))
    assert {name: found[name] for name in expected} == expected


def test_a_size_and_a_time_of_zero_are_figures() -> None:
    engine = step("engine", {"activation_bytes": {"value": [0]}, "size_bytes": {"value": 0}}, seconds=0.0)
    found = figures(report(engine))
    assert (found["size"], found["memory"], found["build_time"]) == (0, 0, 0.0)


def test_an_unknown_memory_is_no_figure() -> None:
    engine = step("engine", {"activation_bytes": {"value": None}, "size_bytes": {"value": 3}})
    assert figures(report(engine))["memory"] is None


@pytest.mark.parametrize("infinite", ["Infinity", "inf", None])
def test_errors_of_zero_and_infinite_errors_are_in_the_curve(infinite: str | None, tmp_path: Path) -> None:
    (tmp_path / "evidence").mkdir()
    cases = [
        {"case": "a", "sizes": {"seq_len": 4}, "outputs": {"y": {"max_rel": 0.0}}},
        {"case": "b", "sizes": {"seq_len": 8}, "outputs": {"y": {"max_rel": infinite}}},
    ]
    (tmp_path / "evidence" / "verification.json").write_text(json.dumps({"cases": cases}))
    assert error_by_length(tmp_path) == [(4, 0.0), (8, math.inf)]


def test_latency_is_that_of_built_artifacts() -> None:
    results = [{"name": "PyTorch eager", "median": 0.01}, {"name": "onnxruntime fp32", "median": 0.04}]
    timed = step("benchmark", {"cases": [{"sizes": {"seq_len": 500}, "results": results}]})
    assert latency_by_length(report(timed)) == [(500, 0.04)]


def test_error_by_length_is_the_worst_of_each_length(tmp_path: Path) -> None:
    (tmp_path / "evidence").mkdir()
    cases = [
        {"case": "b", "sizes": {"seq_len": 16}, "outputs": {"y": {"max_rel": 2e-6}}},
        {"case": "a", "sizes": {"seq_len": 4}, "outputs": {"y": {"max_rel": 1e-6}}},
        {"case": "c", "sizes": {"seq_len": 16}, "outputs": {"y": {"max_rel": 3e-6}, "z": {"max_rel": 1e-6}}},
    ]
    (tmp_path / "evidence" / "verification.json").write_text(json.dumps({"cases": cases}))
    assert error_by_length(tmp_path) == [(4, 1e-6), (16, 3e-6)]
    lowered = [{"case": "b", "sizes": {"seq_len": 40}, "how": "as stored", "outputs": {"y": {"max_rel": 0.5}}}]
    (tmp_path / "evidence" / "lowered_verification.json").write_text(json.dumps({"cases": lowered}))
    assert error_by_length(tmp_path) == [(40, 0.5)]
    older = [{"case": "seq_len=40 (profile max)", "as_stored": {"y": {"max_rel": 0.5}}}]
    (tmp_path / "evidence" / "lowered_verification.json").write_text(json.dumps({"cases": older}))
    assert error_by_length(tmp_path) == [(40, 0.5)]


def test_figures_are_written_for_people() -> None:
    texts = {"error": "1.2e-04", "snr_db": "46 dB", "latency": "41.2 ms", "size": "42 MB", "nodes": "2,198"}
    values = {"error": 1.2e-4, "snr_db": 46.2, "latency": 0.0412, "size": 42e6, "nodes": 2198}
    assert {name: figure_text(name, value) for name, value in values.items()} == texts
    assert {figure_text(name, None) for name in FIGURES} == {"-"}
    zeros = {"error": "0", "snr_db": "0 dB", "latency": "0 ms", "size": "0 B", "memory": "0 B", "nodes": "0",
             "build_time": "0 ms"}  # fmt: skip
    assert {name: figure_text(name, 0.0) for name in FIGURES} == zeros
    assert figure_text("snr_db", math.inf) == "exact"


def test_figures_of_several_parts_are_those_of_the_worst_part_or_sums() -> None:
    one = report(step("export", {"nodes": 30}), VERIFIED)
    other = report(step("export", {"nodes": 12}), LOWERED, ENGINE)
    joint = {
        "steps": [{**each, "part": part} for part, single in (("a", one), ("b", other)) for each in single["steps"]],
        "artifacts": [
            {**each, "part": part} for part, single in (("a", one), ("b", other)) for each in single["artifacts"]
        ],
    }
    found = figures(joint)
    assert (found["error"], found["snr_db"]) == (2e-2, 47.0)
    assert (found["size"], found["nodes"], found["build_time"], found["memory"]) == (5 + 7, 42, 10.0, 8)
    assert found["latency"] is None
