"""The changes between two runs of one configuration: status, verification, artifacts, and figures beyond noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from cosybuild.report.figures import moment
from cosybuild.report.sweep_figures import FIGURES, figures
from cosybuild.report.sweep_table import figure_text

_NOISE = {"error": 1.5, "latency": 1.1, "size": 1.01, "memory": 1.01, "nodes": 1.0}
"""Figure -> the largest factor between two runs that counts as noise and not as a change.

Build times are left out because they depend on the store. For `snr_db`, `_NOISE_DB` is the largest difference in dB.
"""

_NOISE_DB = 3.0


def run_state(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of report.json that is compared: status, verified, weights, figures and artifacts."""
    # The figures of a failed run are those of some steps only.
    sound = report["status"] in ("ok", "pending")
    return {
        "status": report["status"],
        "verified": report["verified"],
        "weights": report["model"]["weights_digest"],
        "figures": figures(report) if sound else {},
        "artifacts": {
            a["name"]: {name: a[name] for name in ("path", "size", "digest", "deterministic")}
            for a in report["artifacts"]
        },
    }


def since_run(report: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Return the start of the earlier run in the same directory, and the changes since then, as JSON data.

    Args:
        report: the content of the new report.json.
        earlier: the content of the earlier report.json.
    """
    return {"started": earlier["started"], "changes": list(changes(run_state(earlier), run_state(report)))}


def since_lines(since: Mapping[str, Any]) -> Iterator[str]:
    """Yield the result of `since_run` as lines of text for the console."""
    yield f"Since the run of {moment(since['started'])}: {'nothing changed.' if not since['changes'] else ''}".rstrip()
    yield from (f"  {change['what']} {change['before']} -> {change['after']}" for change in since["changes"])


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield the changes between two states. The field `what` names the thing that changed.

    The fields `before` and `after` are the texts of its two values.

    Args:
        old: the earlier state, a result of `run_state`. A cell of sweep.json has the same fields.
        new: the later state.
    """
    if old["status"] != new["status"]:
        yield change("status", old["status"], new["status"])
    weights = [state.get("weights") for state in (old, new)]
    if all(weights) and weights[0] != weights[1]:
        yield change("weights", *(str(digest)[:12] for digest in weights))
    if not old["figures"] or not new["figures"]:
        return
    if old["verified"] != new["verified"]:
        yield change("verified", str(old["verified"]).lower(), str(new["verified"]).lower())
    for name in FIGURES:
        pair = [_value(state["figures"].get(name)) for state in (old, new)]
        if _differs(name, *pair):
            yield change(FIGURES[name].title, *(figure_text(name, value) for value in pair))
    for name, artifact in new["artifacts"].items():
        was = old["artifacts"].get(name)
        # The builder of engines times kernels on the machine, so an engine has other bytes each time.
        if was is not None and artifact["deterministic"] and was["digest"] != artifact["digest"]:
            yield change(f"sha256 of {name}", was["digest"][:16], artifact["digest"][:16])
    for name in sorted(old["artifacts"].keys() ^ new["artifacts"].keys()):
        words = ("present", "absent") if name in old["artifacts"] else ("absent", "present")
        yield change(name, *words)


def change(what: str, before: str, after: str) -> dict[str, str]:
    """Return one change as JSON data.

    Args:
        what: the name of the thing that changed.
        before: the text of its earlier value.
        after: the text of its later value.
    """
    return {"what": what, "before": before, "after": after}


def _differs(name: str, old: float | None, new: float | None) -> bool:
    if name == "snr_db" and old is not None and new is not None:
        return old != new and abs(new - old) > _NOISE_DB
    if name not in _NOISE and name != "snr_db":
        return False
    if old is None or new is None:
        return (old is None) != (new is None)
    if old == new:
        return False
    least, most = sorted((abs(old), abs(new)))
    return least == 0 or math.isinf(most) or most / least > _NOISE[name]


def _value(value: Any) -> float | None:
    return None if value is None else float(value)
