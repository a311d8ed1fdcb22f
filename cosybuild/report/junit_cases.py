"""The tests of a JUnit file: one for each file of `certify`, for each step of a run, or for each cell of a sweep."""

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
"""The kind of a build's failure that means a wrong result. Every other kind means that there is no result."""


def verdict_case(verdict: Mapping[str, Any]) -> Case:
    """Return the test for one file of `certify`. A refuted file is a failure, an unreadable file is an error.

    Args:
        verdict: the facts of the verdict, as `certify --json` prints them.
    """
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
    """Yield one test for each step of a run. A step that waits for another machine is a skipped test.

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
    """Return the test for a failure of a build. A failed gate is a JUnit failure, everything else an error.

    Args:
        failure: the fields `step`, `kind`, `message` and `hint`, as report.json has them. `step` is empty if no step
            failed.
        run: the path of the run directory, or the name of the suite if there is none.
    """
    told = " ".join(part for part in (failure["message"], failure["hint"]) if part)
    kind: Kind = "failure" if failure["kind"] == _GATE else "error"
    return Case(run, failure["step"] or "build", kind, told, failure["kind"])


def sweep_cases(sweep: Mapping[str, Any]) -> Iterator[Case]:
    """Yield one test for each cell of a sweep. A cell with steps that wait for another machine is a skipped test.

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
