"""Whether a run directory already holds what a plan would put there; then it is left as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosybuild.core.plan import Plan
from cosybuild.core.store import Store
from cosybuild.errors import ConfigurationError, StoreError
from cosybuild.run.recorded import read_run


def unchanged_report(directory: Path, plan: Plan, store: Store) -> Mapping[str, Any] | None:
    """The report of an earlier run that made just this; None if anything is missing or different.

    So the reasons of the run that really built stay readable, however often the command is repeated.
    """
    if not plan.up_to_date:
        return None
    try:
        run = read_run(str(directory))
    except ConfigurationError:  # none, or one that was cut off or is of another version
        return None
    keys = {step.label: step.key and step.key.digest for step in plan.steps}
    recorded = {record.label: record.key and record.key.digest for record in run.outcome.records}
    if run.report["status"] != "ok" or keys != recorded:
        return None
    for artifact in run.report["artifacts"]:
        place = (directory / artifact["path"]).parent
        for name, digest in artifact["files"].items():
            try:
                if store.source(artifact["slot"], place / name).digest != digest:
                    return None
            except StoreError:
                return None
    return run.report
