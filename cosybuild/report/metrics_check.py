"""The check that reports can show the metrics of a step. The step's entry may come from a remote store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosybuild.printable import one_line
from cosybuild.report.difference import difference
from cosybuild.report.markdown import markdown
from cosybuild.report.noise_profile import plot, profile_of
from cosybuild.report.sweep_figures import figures

MISFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""The exceptions that the code for reports raises if a record has other fields or types than it expects.

Any other exception, such as a failed assertion, is a defect of cosybuild and is reported as such.
"""

_MODEL = {
    "family": "",
    "streaming": False,
    "random_weights": False,
    "origin": "",
    "weights": "",
    "weights_digest": None,
}
_REPORT = {
    "config": {},
    "model": {**_MODEL, "inputs": [], "outputs": [], "notes": []},
    "environment": {"machine": {}, "versions": {}},
    "status": "ok",
    "verified": None,
    "started": 0.0,
    "seconds": 0.0,
    "config_digest": "",
    "overrides": [],
    "artifacts": [],
}
"""The report of a run without steps, to which the step to check is added."""


def fault_of(stage: str, metrics: Mapping[str, Any], made: Mapping[str, Any]) -> str | None:
    """Return a phrase with the reason why reports cannot show the metrics of a step; None if they can.

    Args:
        stage: the name of the step's stage, which determines the fields that reports read.
        metrics: the field `metrics` of the step's entry in a store.
        made: the field `made` of the entry.
    """
    step = {"label": stage, "stage": stage, "action": "hit", "reason": "", "seconds": 0.0, "peak_bytes": None}
    report = {**_REPORT, "steps": [{**step, "metrics": metrics, "made": made}]}
    try:
        markdown(report)
        if (profile := profile_of(report)) is not None:
            plot(profile)
        figures(report)
        difference(report, report)
        dict(metrics.get("traits", {}))
    except MISFIT as error:
        return f"has figures that cannot be shown ({one_line(f'{type(error).__name__}: {error}')[:200]})"
    return None
