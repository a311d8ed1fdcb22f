"""The tests of a JUnit file: one for each certified file, each step of a run, or each cell of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cosybuild.report.figures import action
from cosybuild.report.highlights import highlight
from cosybuild.report.junit import Case, Kind
from cosybuild.report.sweep_table import work
from cosybuild.report.verdicts import message

_KIND_OF_OUTCOME: Mapping[str, Kind] = {
    "right": "passed",
    "not compared": "skipped",
    "wrong": "failure",
    "right for other weights": "failure",
}

_GATE = "verification"
"""The kind of failure of a build that is a wrong result. Every other failure means that there is no result."""


def verdict_case(verdict: Mapping[str, Any]) -> Case:
    """Return the test of one file of `certify`: a refuted file is a failure, an unreadable one an error."""
    fields = [(name, verdict[name]) for name in ("outcome", "sha256", "family", "dtype")]
    mistakes = [("mistake", known["name"]) for known in verdict["mistakes"]]
    return Case(
        str(verdict["component"] or "unknown"),
        verdict["file"],
        _KIND_OF_OUTCOME.get(verdict["outcome"], "error"),
        message(verdict),
        str(verdict["outcome"]),
        properties=(*fields, *mistakes),
    )


def run_cases(report: Mapping[str, Any], run: str) -> Iterator[Case]:
    """Yield the test of each step of a run; a step that waits for another machine is skipped.

    Args:
        report: the content of report.json.
        run: the path of the run directory, by which the tests are grouped.
    """
    failure, unchanged = report["failure"], report.get("nothing_to_do", False)
    for step in report["steps"]:
        if step["action"] == "failed":
            continue
        kind: Kind = "skipped" if step["action"] == "blocked" else "passed"
        done = "up to date" if unchanged else f"{action(step)} ({step['reason']})"
        told = step["reason"] if kind == "skipped" else f"{done} {highlight(step)}".rstrip()
        yield Case(run, step["label"], kind, told, seconds=step["seconds"])
    if failure is not None:
        yield failure_case(failure, run)


def failure_case(failure: Mapping[str, Any], run: str) -> Case:
    """Return the test that a failure ended: a failed gate is a failure, everything else an error.

    Args:
        failure: `kind`, `message` and `hint` as report.json has them; `step` is empty outside of steps.
        run: the path of the run directory, or the name of the suite if there is none.
    """
    told = " ".join(part for part in (failure["message"], failure["hint"]) if part)
    kind: Kind = "failure" if failure["kind"] == _GATE else "error"
    return Case(run, failure["step"] or "build", kind, told, failure["kind"])


def sweep_cases(sweep: Mapping[str, Any]) -> Iterator[Case]:
    """Yield the test of each cell of a sweep; a cell with steps that wait for another machine is skipped.

    Args:
        sweep: the content of sweep.json.
    """
    for cell in sweep["cells"]:
        name = " ".join(f"{key}={value}" for key, value in cell["choices"].items()) or " ".join(cell["overrides"])
        if cell["failure"] is not None:
            ended = failure_case(cell["failure"], sweep["name"])
            yield Case(sweep["name"], name, ended.kind, ended.message, ended.type, cell["seconds"])
        elif cell["status"] == "ok":
            yield Case(sweep["name"], name, "passed", work(cell), seconds=cell["seconds"])
        elif cell["status"] == "pending":
            yield Case(sweep["name"], name, "skipped", "; ".join(cell["pending"]), seconds=cell["seconds"])
        else:
            told = "The cell did not finish; the same command continues the sweep."
            yield Case(sweep["name"], name, "error", told, str(cell["status"]), cell["seconds"])
