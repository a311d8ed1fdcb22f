"""The differences that a person compares: few, rounded, with the names that the person typed."""

from __future__ import annotations

from typing import Any

from cosybuild.report.overview import overview


def report(error: float, status: str = "ok", opset: int = 18) -> dict[str, Any]:
    metrics = {"worst": {"max_abs": error, "case": "seq_len=4"}, "cases": 4, "hops": [{"own": {"max_abs": error}}]}
    steps = [
        {"label": "simplify", "stage": "simplify", "metrics": {"nodes_before": 1000 + opset, "nodes_after": 900}},
        {"label": "verify", "stage": "verify", "metrics": metrics},
    ]
    artifact = {"name": "net.onnx", "digest": "a" * 64, "size": 3000}
    return {
        "config": {"export": {"opset": opset}, "store": {"path": f"/{opset}"}}, "model": {}, "steps": steps,
        "environment": {"versions": {"torch": "2.13.0"}}, "status": status, "verified": status == "ok",
        "artifacts": [artifact],
    }  # fmt: skip


def test_figures_that_agree_after_rounding_do_not_differ() -> None:
    assert overview(report(1.0e-6), report(1.00001e-6)) == {}
    changed = overview(report(1.0e-6), report(2.0e-6))
    assert list(changed) == ["figures"]
    assert changed["figures"]["verify worst max_abs"] == ("1e-06", "2e-06")


def test_settings_have_the_names_that_a_person_types() -> None:
    found = overview(report(1e-6), report(1e-6, opset=20))
    assert found["settings"] == {"export.opset": (18, 20)}
    assert found["figures"] == {"simplify": ("1,018 to 900 nodes", "1,020 to 900 nodes")}


def test_verdicts_come_first() -> None:
    failed = {**report(1e-6, "failed"), "failure": {"step": "verify", "message": "too large"}}
    found = overview(report(1e-6), failed)
    assert list(found) == ["verdict"]
    assert found["verdict"]["failure"] == ("(absent)", "verify: too large")
    assert found["verdict"]["status"] == ("ok", "failed")
