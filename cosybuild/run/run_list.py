"""The list of recorded runs, made from the records alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.errors import ConfigurationError
from cosybuild.report.metrics_check import MISFIT
from cosybuild.report.remarks import is_verified_in_part
from cosybuild.run.imported_run import origin_of_run
from cosybuild.run.run_names import REPORT, newest_first
from cosybuild.system.json_records import read_record
from cosybuild.system.typed_json import from_json

DAMAGED = "damaged"
"""The status of a run whose record cannot be read."""


@dataclass(frozen=True)
class RunSummary:
    """One recorded run, as `runs` lists it.

    Attributes:
        name: the name of the run directory.
        directory: the path of the run directory.
        status: the status in the report, or DAMAGED.
        started: the start in seconds since the epoch; None for a damaged record.
        seconds: the duration; None for a run that did not end.
        model: the family of the model; empty for a damaged record.
        verified: True if every verification passed, False if one did not, None if there was none.
        failure: the message of a failed run, or the reason why a record cannot be read; else None.
        artifacts: the names of its artifacts.
        size: the size of its artifacts in bytes.
        imported: True if another person made the run.
        in_part: every verification passed, but an artifact was only inspected, or not verified at all.
    """

    name: str
    directory: str
    status: str
    started: float | None = None
    seconds: float | None = None
    model: str = ""
    verified: bool | None = None
    failure: str | None = None
    artifacts: tuple[str, ...] = ()
    size: int = 0
    imported: bool = False
    in_part: bool = False


@dataclass(frozen=True)
class _Artifact:
    name: str
    size: int


@dataclass(frozen=True)
class _Report:
    status: str
    started: float
    seconds: float | None
    model: Mapping[str, Any]
    verified: bool | None
    failure: Mapping[str, Any] | None
    artifacts: tuple[_Artifact, ...]


def list_runs(limit: int | None = None) -> Iterator[RunSummary]:
    """Yield the runs under outputs/runs, the newest first. A run with a damaged record has the status DAMAGED.

    Args:
        limit: the largest number of runs; None lists all.
    """
    for directory in newest_first()[:limit]:
        yield _summary(directory)


def _summary(directory: Path) -> RunSummary:
    path = directory / REPORT
    try:
        record = read_record(path, "report")
        report = from_json(record, _Report, str(path))
        imported = origin_of_run(directory) is not None
    except ConfigurationError as error:
        return RunSummary(directory.name, str(directory), DAMAGED, failure=error.message)
    return RunSummary(
        name=directory.name,
        directory=str(directory),
        status=report.status,
        started=report.started,
        seconds=report.seconds,
        model=str(report.model.get("family", "")),
        verified=report.verified,
        failure=None if report.failure is None else str(report.failure.get("message", "")),
        artifacts=tuple(artifact.name for artifact in report.artifacts),
        size=sum(artifact.size for artifact in report.artifacts),
        imported=imported,
        in_part=_in_part(record),
    )


def _in_part(record: Mapping[str, Any]) -> bool:
    try:
        return is_verified_in_part(record)
    except MISFIT:  # a record of another version
        return False
