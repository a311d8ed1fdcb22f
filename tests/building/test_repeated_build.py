"""A repeated build: every step runs, and each artifact is same, equivalent, different or missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.building.repeated_build import DIFFERENT, EQUIVALENT, MISSING, SAME, Made, rebuild, verdict_of
from cosybuild.building.stage import RunContext
from cosybuild.errors import ExportError
from cosybuild.store.result import StageResult
from tests.building.fakes import FakeStage, pipeline

REQUEST = {"opset": 18, "rounds": 3, "rtol": 1e-4, "profile": "default"}


@pytest.mark.parametrize(("before", "after", "verdict"), [
    (Made("a", True), Made("a", True), SAME),
    (Made("a", False, {"layers": 1}), Made("a", False, {"layers": 2}), SAME),
    (Made("a", True), Made("b", True), DIFFERENT),
    (Made("a", True, {"layers": 1}), Made("b", True, {"layers": 1}), DIFFERENT),
    (Made("a", False, {"layers": 1}), Made("b", False, {"layers": 1}), EQUIVALENT),
    (Made("a", False, {"layers": 1}), Made("b", False, {"layers": 2}), DIFFERENT),
    (Made("a", False), Made("b", False), EQUIVALENT),
    (None, Made("b", True), MISSING),
    (Made("a", True), None, MISSING),
])  # fmt: skip
def test_the_verdict_compares_digests_and_traits(before: Made | None, after: Made | None, verdict: str) -> None:
    assert verdict_of(before, after) == verdict


def test_every_step_runs_and_its_files_are_in_the_directory(tmp_path: Path) -> None:
    weights = tmp_path / "flow.pt"
    weights.write_text("weights")
    stages = pipeline()
    results = [
        rebuild(stages, REQUEST, {"weights": [weights]}, tmp_path / name, lambda kind, **facts: None)  # type: ignore[arg-type]
        for name in ("one", "two")
    ]
    assert [stage.ran for stage in stages] == [2] * 4
    for name, result in zip(("one", "two"), results, strict=True):
        assert result.failure is None
        assert list(result.seconds) == ["export", "simplify", "verify", "engine"]
        assert set(result.artifacts) == {"graph", "evidence", "engine"}
        for slot, artifact in result.artifacts.items():
            assert artifact.path.parent == tmp_path / name / slot
            assert artifact.path.read_text().startswith(f"{slot}\n")
    # A later step replaced the slot of an earlier one.
    assert "simplify" in results[0].artifacts["graph"].path.read_text()
    first, second = ({slot: a.digest for slot, a in result.artifacts.items()} for result in results)
    assert first == second


def test_a_step_that_fails_is_reported(tmp_path: Path) -> None:
    def fail(context: RunContext) -> StageResult:
        raise ExportError("no graph", hint="Next: nothing")

    stages = [FakeStage("export", makes=("graph",), work=fail)]
    result = rebuild(stages, REQUEST, {}, tmp_path, lambda kind, **facts: None)  # type: ignore[arg-type]
    assert result.failure is not None
    assert (result.failure.step, result.failure.message) == ("export", "no graph")
    assert result.artifacts == {}
