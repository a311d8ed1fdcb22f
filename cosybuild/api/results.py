"""The results of the Python API as typed, frozen data, made from plans and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.building.plan import Plan
from cosybuild.building.record import Failure
from cosybuild.report.sweep_figures import figures
from cosybuild.run.plan_facts import plan_verdict
from cosybuild.system.typed_json import from_json


@dataclass(frozen=True)
class StepReport:
    """One step of a run.

    Attributes:
        label: the name of the step.
        action: `hit`, `pulled`, `built`, `blocked`, `failed` or `not reached`.
        reason: the reason for the action, as a sentence.
        seconds: the time in seconds that this run spent on the step.
        metrics: the measurements of the step, as in report.json; empty if there are none.
        warnings: the warnings that were given while the step was built, in this run or an earlier one.
    """

    label: str
    action: str
    reason: str
    seconds: float
    metrics: Mapping[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ArtifactReport:
    """One artifact that a run delivered.

    Attributes:
        name: the name of its main file.
        path: the absolute path of its main file.
        digest: the digest of all its files.
        size: the size of all its files in bytes.
        made_by: the label of the step that made it.
        verified_by: the labels of the steps that executed it and found no fault.
    """

    name: str
    path: Path
    digest: str
    size: int
    made_by: str
    verified_by: tuple[str, ...]


@dataclass(frozen=True)
class BuildReport:
    """The report of a run.

    Attributes:
        verdict: `ok`, `pending` (a step needs another machine) or `failed`.
        verified: True if every verification passed, False if one did not, None if there was none.
        directory: the absolute path of the run directory.
        nothing_to_do: True if every step was built before.
        steps: the steps in their order.
        artifacts: the delivered artifacts; for a failed run, only those that passed all verifications.
        figures: the figures by which sweeps compare runs: error, snr_db, memory, size, latency and others. A figure
            that was not measured is None.
        failure: the failure of a failed run, else None.
    """

    verdict: str
    verified: bool | None
    directory: Path
    nothing_to_do: bool
    steps: tuple[StepReport, ...]
    artifacts: tuple[ArtifactReport, ...]
    figures: Mapping[str, float | None]
    failure: Failure | None


@dataclass(frozen=True)
class PlannedStep:
    """One step of a plan.

    Attributes:
        label: the name of the step.
        verdict: `hit`, `stale`, `unknown` or `blocked`.
        reason: the reason for the verdict, as a sentence.
        device: the device on which the step computes.
        expected_seconds: the duration of the most similar builds, in seconds; None if there was none, and for a step
            that does not run.
    """

    label: str
    verdict: str
    reason: str
    device: str
    expected_seconds: float | None


@dataclass(frozen=True)
class PlanReport:
    """The plan of a build.

    Attributes:
        verdict: `nothing to do`, `would build` or `blocked` (a step needs another machine).
        expected_seconds: the expected duration of the steps that would run, in seconds; None if one of them was never
            built before.
        steps: the steps in their order.
        warnings: the warnings that planning gave, such as those on damaged results in the store.
    """

    verdict: str
    expected_seconds: float | None
    steps: tuple[PlannedStep, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class CellReport:
    """One cell of a sweep.

    Attributes:
        choices: setting -> value, for the settings that the sweep varies.
        overrides: all overrides of the cell.
        verdict: `ok`; `pending` (a step needs another machine); `failed`; `unfinished` (the cell is running or was
            interrupted); or `missing` (the cell was planned and did not start).
        directory: the absolute path of the run directory; None for a missing cell.
        seconds: the duration of the cell's last build in seconds; None if the cell did not end.
        figures: see `BuildReport`.
        failure: the failure of a failed cell, else None.
    """

    choices: Mapping[str, str]
    overrides: tuple[str, ...]
    verdict: str
    directory: Path | None
    seconds: float | None
    figures: Mapping[str, float | None]
    failure: Failure | None


@dataclass(frozen=True)
class SweepReport:
    """The report of a sweep.

    Attributes:
        name: the name of the sweep.
        directory: the absolute path of its directory.
        verdict: the worst verdict of its cells.
        cells: the cells in their order.
    """

    name: str
    directory: Path
    verdict: str
    cells: tuple[CellReport, ...]


def build_report(report: Mapping[str, Any], directory: Path) -> BuildReport:
    """Convert the result of `run_build`, which is plain JSON data, to a `BuildReport`.

    Args:
        report: the result of `run_build`.
        directory: the run directory.
    """
    home = directory.absolute()
    return BuildReport(
        verdict=report["status"],
        verified=report["verified"],
        directory=home,
        nothing_to_do=report["nothing_to_do"],
        steps=tuple(
            StepReport(s["label"], s["action"], s["reason"], s["seconds"], s["metrics"] or {}, tuple(s["warnings"]))
            for s in report["steps"]
        ),
        artifacts=tuple(
            ArtifactReport(
                a["name"], home / a["path"], a["digest"], a["size"], a["made_by"], tuple(a.get("verified_by", ()))
            )
            for a in report["artifacts"]
        ),
        figures=figures(report),
        failure=failure_of(report["failure"]),
    )


def plan_report(plan: Plan, warnings: tuple[str, ...]) -> PlanReport:
    """Convert a plan, and the warnings of planning, to a `PlanReport`."""
    steps = (
        PlannedStep(
            step.label,
            step.status.verdict,
            step.status.explain(),
            step.stage.device,
            None if step.expected is None else step.expected.seconds,
        )
        for step in plan.steps
    )
    return PlanReport(plan_verdict(plan), plan.expected_seconds, tuple(steps), warnings)


def sweep_report(sweep: Mapping[str, Any], directory: Path) -> SweepReport:
    """Convert the content of sweep.json to a `SweepReport`.

    Args:
        sweep: the content of sweep.json.
        directory: the directory of the sweep.
    """
    home = directory.absolute()
    cells = (
        CellReport(
            choices=cell["choices"],
            overrides=tuple(cell["overrides"]),
            verdict=cell["status"],
            directory=None if cell["run"] is None else (home / cell["run"]).resolve(),
            seconds=cell["seconds"],
            figures=cell["figures"],
            failure=failure_of(cell["failure"]),
        )
        for cell in sweep["cells"]
    )
    return SweepReport(sweep["name"], home, sweep["status"], tuple(cells))


def failure_of(plain: Mapping[str, Any] | None) -> Failure | None:
    """Convert the failure in a report to a `Failure`; None stays None."""
    return None if plain is None else from_json(plain, Failure, "failure")
