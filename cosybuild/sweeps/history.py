"""The earlier reports of a sweep, in `history/` of its directory. The newest is compared with the present report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cosybuild.errors import ConfigurationError
from cosybuild.report.sweep import UNFINISHED
from cosybuild.system.files import write_text
from cosybuild.system.typed_json import from_json

REPORT, HISTORY = "sweep.json", "history"
_KEPT = 50
"""The number of reports that are kept. For a nightly sweep, they cover seven weeks."""


@dataclass(frozen=True)
class _Artifact:
    digest: str


@dataclass(frozen=True)
class _Cell:
    id: str
    overrides: tuple[str, ...]
    status: str
    verified: bool | None
    figures: Mapping[str, float | str | None]
    artifacts: Mapping[str, _Artifact]

    def __post_init__(self) -> None:
        for value in self.figures.values():
            float(value or 0)  # a figure that JSON lacks is a text, such as Infinity


@dataclass(frozen=True)
class _Report:
    """The fields of a report that `report.sweep_history` compares."""

    status: str
    started: float
    cells: tuple[_Cell, ...]


def keep_report(directory: Path) -> None:
    """Copy the report of the last sweep to the history, unless that sweep did not finish.

    Call this before a new sweep writes its report.
    """
    last = _read(directory / REPORT)
    if last is None or last["status"] == UNFINISHED:
        return
    name = f"{datetime.fromtimestamp(last['started'], timezone.utc):%Y%m%dT%H%M%SZ}.json"
    (directory / HISTORY).mkdir(exist_ok=True)
    write_text(directory / HISTORY / name, (directory / REPORT).read_text(encoding="utf-8"))
    for old in _reports(directory)[:-_KEPT]:
        old.unlink(missing_ok=True)


def last_report(directory: Path) -> Mapping[str, Any] | None:
    """Return the newest report in the history; None if there is none, or if it is damaged."""
    reports = _reports(directory)
    return _read(reports[-1]) if reports else None


def _reports(directory: Path) -> list[Path]:
    return sorted((directory / HISTORY).glob("*.json"))


def _read(path: Path) -> Mapping[str, Any] | None:
    """Return the report in a file; None if there is none, or if it is damaged or of another version."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        from_json(report, _Report, str(path))
        datetime.fromtimestamp(report["started"], timezone.utc)
    except (OSError, ValueError, OverflowError, RecursionError, ConfigurationError):
        return None
    found: Mapping[str, Any] = report
    return found
