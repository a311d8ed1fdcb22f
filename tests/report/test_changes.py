"""The changes between two runs of one directory."""

from __future__ import annotations

from cosybuild.report.changes import run_state, since_run
from tests.run.records import report

GRAPH = {"name": "m.onnx", "path": "artifacts/m.onnx", "size": 9, "digest": "d" * 64, "deterministic": True, "part": ""}


def test_after_a_failed_run_only_the_verdict_is_compared() -> None:
    """The figures and artifacts of a failed run are those of the steps before the failure."""
    failed = report(status="failed", verified=False)
    later = report(verified=True, artifacts=[GRAPH], started=5.0)
    assert run_state(failed)["figures"] == {}
    found = since_run(later, failed)
    assert found == {"started": 0.0, "changes": [{"what": "status", "before": "failed", "after": "ok"}]}
