"""The check that reports can show the figures of a step, because its entry may come from a remote store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosybuild.printable import one_line
from cosybuild.report.difference import difference
from cosybuild.report.markdown import markdown
from cosybuild.report.noise_profile import plot, profile_of
from cosybuild.report.sweep_figures import figures

MISFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Exceptions of the code that makes texts from records, if a record has other fields or types than the code expects.
Any other exception, such as a failed assertion, is a defect of cosybuild and is reported as one."""

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
"""The report of a run without steps."""


def fault_of(stage: str, metrics: Mapping[str, Any], made: Mapping[str, Any]) -> str | None:
    """Return why no report can show a step with these figures, as a phrase; None if reports can.

    Args:
        stage: the name of the step's stage, which determines the fields that the texts read.
        metrics, made: fields of the step's entry in a store.
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
