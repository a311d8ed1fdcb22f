"""The facts of an artifact that model cards and bills of materials state: its task, measured figures and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cosybuild.report.remarks import EXECUTED, INSPECTED, UNCHECKED

_SHOWN = ("snr_db", "max_abs", "max_rel", "cosine", "lsd_db")


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        name: the metric, e.g. `snr_db`.
        values: metric -> value. `cosybuild.figure.measured` reads the value of `name` from it.
        of: the text that names the comparison: the step, the reference and the case.
    """

    name: str
    values: Mapping[str, Any]
    of: str


def task_of(report: Mapping[str, Any], artifact: Mapping[str, Any]) -> str:
    """Return the task of an artifact in the words of model hubs; an empty text for a user's own model."""
    return "text-to-speech" if str(report["model"]["family"]).startswith("cosyvoice") else ""


def figures_of(report: Mapping[str, Any], artifact: Mapping[str, Any]) -> Iterator[Figure]:
    """Yield the worst figures of each step that verified an artifact, and the figures of the solver's mel spectrograms.

    Args:
        report: the content of report.json.
        artifact: an item of its field `artifacts`.
    """
    steps = {step["label"]: step for step in report["steps"]}
    for label in artifact["verified_by"]:
        metrics = steps[label]["metrics"] or {}
        worst = metrics.get("worst") or {}
        case = f", {worst['case']}" if "case" in worst else ""
        yield from _figures(worst, f"{label}: one call against PyTorch, the worst case{case}")
        for run in metrics.get("solver") or []:
            yield from _figures(run["mel"], f"{label}: the mel of {run['run']} against PyTorch")


def _figures(values: Mapping[str, Any], of: str) -> Iterator[Figure]:
    yield from (Figure(name, values, of) for name in _SHOWN if name in values)


def limits_of(report: Mapping[str, Any], artifact: Mapping[str, Any], check: str) -> Iterator[str]:
    """Yield a sentence for each limit of what the build has shown about an artifact.

    Args:
        report: the content of report.json.
        artifact: an item of its field `artifacts`.
        check: the result of `remarks.checks` for the artifact.
    """
    if report["model"]["random_weights"]:
        yield "The weights are random, so the artifact is of use for tests only."
    if check == UNCHECKED:
        yield "The artifact was not verified."
    elif check == INSPECTED:
        yield "Its graph was executed and verified; the engine itself was inspected but not executed."
    if check.startswith(EXECUTED) or check == INSPECTED:
        yield "It was compared with PyTorch on drawn inputs; the quality of its speech was not measured."
    for profile in report["profiles"] or []:
        # In a joint build, the name of an axis begins with the name of the part.
        own = {axis: one["sizes"] for axis, one in profile.items() if axis.startswith(artifact["part"])}
        if own and check != UNCHECKED:
            sizes = ", ".join(f"{axis} {least} to {most}" for axis, (least, *_, most) in own.items())
            yield f"Sizes outside this profile were not verified: {sizes}."
    for step in report["steps"]:
        if step["label"] in artifact["verified_by"]:
            left_out = (step["metrics"] or {}).get("left_out") or []
            yield from (f"{step['label']} did not run {one['case']}." for one in left_out if "case" in one)
