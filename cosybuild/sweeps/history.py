"""The earlier reports of a sweep, in `history/` of its directory; the newest one is compared with the present one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cosybuild.report.sweep import UNFINISHED
from cosybuild.system.files import write_text

REPORT, HISTORY = "sweep.json", "history"
_KEPT = 50
"""Reports that are kept; a nightly sweep has seven weeks of them."""


def keep_report(directory: Path) -> None:
    """Copy the report of the last sweep to the history, unless that sweep did not finish; called before a new one."""
    last = _read(directory / REPORT)
    if last is None or last["status"] == UNFINISHED or not isinstance(last.get("started"), int | float):
        return
    name = f"{datetime.fromtimestamp(last['started'], timezone.utc):%Y%m%dT%H%M%SZ}.json"
    (directory / HISTORY).mkdir(exist_ok=True)
    write_text(directory / HISTORY / name, (directory / REPORT).read_text(encoding="utf-8"))
    for old in _reports(directory)[:-_KEPT]:
        old.unlink(missing_ok=True)


def last_report(directory: Path) -> Mapping[str, Any] | None:
    """Return the newest report in the history; None if there is none, or it is damaged."""
    reports = _reports(directory)
    return _read(reports[-1]) if reports else None


def _reports(directory: Path) -> list[Path]:
    return sorted((directory / HISTORY).glob("*.json"))


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) and {"status", "cells"} <= report.keys() else None
