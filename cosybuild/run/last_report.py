"""The report of the last run in a run directory, which the next run compares with its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosybuild.report.changes import since_run
from cosybuild.report.metrics_check import MISFIT
from cosybuild.run.run_names import REPORT

_ENDED = ("ok", "pending", "failed")


def last_report(directory: Path) -> Mapping[str, Any] | None:
    """Return the report of the last run in a directory; None if it cannot be used.

    It cannot be used if it is missing or damaged, or if the run did not end.
    """
    try:
        report: Mapping[str, Any] = json.loads((directory / REPORT).read_text(encoding="utf-8"))
        since_run(report, report)
    except (OSError, RecursionError, *MISFIT):
        return None
    return report if report["status"] in _ENDED else None
