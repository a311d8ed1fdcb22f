"""A run directory is left unchanged only if its records and every delivered file match the plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cosybuild.building.plan import Plan
from cosybuild.report.markdown import markdown
from cosybuild.report.report_html import report_html
from cosybuild.run.deliver import deliver
from cosybuild.run.facts import origin_of
from cosybuild.run.recorded import REPORT_PAGE, REPORT_TEXT
from cosybuild.run.unchanged import unchanged_report
from cosybuild.system.typed_json import to_json
from tests.building.fakes import Bench, pipeline
from tests.run.records import report, write_run

REQUEST = {"opset": 18}


@pytest.fixture
def plan(bench: Bench, tmp_path: Path) -> Plan:
    """Return the plan after a build whose results are in `run`."""
    stages = pipeline(verify={"makes": ("verification",)})
    outcome, plan = bench.build(stages, REQUEST), bench.plan(stages, REQUEST)
    run, facts = tmp_path / "run", report(outcome)
    artifacts = to_json(deliver(bench.store, plan, outcome, run, lambda part: origin_of(facts, outcome, part)))
    write_run(run, outcome, artifacts=artifacts)
    (run / REPORT_TEXT).write_text(markdown(report(outcome, artifacts=artifacts)), encoding="utf-8")
    (run / REPORT_PAGE).write_text(report_html(report(outcome, artifacts=artifacts)), encoding="utf-8")
    assert plan.up_to_date
    return plan


def test_the_report_of_the_earlier_run_is_kept(bench: Bench, plan: Plan, tmp_path: Path) -> None:
    found = unchanged_report(tmp_path / "run", plan, bench.store)
    assert found is not None
    assert [step["action"] for step in found["steps"]] == ["built"] * 4


def rewrite(name: str) -> Callable[[Path], object]:
    def change(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).unlink()  # it may be linked to the store
        (run / name).write_bytes(content + b" ")

    return change


@pytest.mark.parametrize("change", [
    *(pytest.param(lambda run, name=name: (run / name).unlink(), id=f"no {name}") for name in (
        "report.json", "plan.json", "report.md", "report.html", "artifacts/graph.txt",
        "artifacts/engine.txt.manifest.json", "evidence/verification.txt",
    )),
    *(pytest.param(rewrite(name), id=f"other {name}") for name in (
        "report.md", "artifacts/graph.txt", "artifacts/engine.txt.manifest.json", "evidence/verification.txt",
    )),
    pytest.param(lambda run: (run / "report.md").write_bytes(b"\xff"), id="no text"),
])  # fmt: skip
def test_missing_or_changed_files_are_written_again(
    bench: Bench, plan: Plan, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    change(tmp_path / "run")
    assert unchanged_report(tmp_path / "run", plan, bench.store) is None


def test_a_plan_with_unbuilt_steps_is_never_unchanged(bench: Bench, plan: Plan, tmp_path: Path) -> None:
    changed = bench.plan(pipeline(verify={"makes": ("verification",)}), {"opset": 19})
    assert unchanged_report(tmp_path / "run", changed, bench.store) is None


def test_a_record_with_other_keys_than_the_plan_is_not_reused(bench: Bench, plan: Plan, tmp_path: Path) -> None:
    stages = pipeline(verify={"makes": ("verification",)})
    bench.build(stages, {"opset": 19})
    other = bench.plan(stages, {"opset": 19})
    assert other.up_to_date
    assert unchanged_report(tmp_path / "run", other, bench.store) is None
