"""The changes of a sweep since the last one in the same directory: verdicts, artifacts, and figures beyond noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from cosybuild.report.sweep_figures import FIGURES
from cosybuild.report.sweep_table import figure_text

_NOISE = {"error": 1.5, "latency": 1.1, "size": 1.01, "memory": 1.01, "nodes": 1.0}
"""Figure -> the largest factor between two sweeps that is not a change. Build times depend on the store, so they are
left out, and `snr_db` has a difference instead of a factor."""

_NOISE_DB = 3.0


def since(sweep: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Return the start of the earlier sweep and the changes since then, as JSON data.

    A change has the `cell` (its overrides), `what` changed, and the texts `before` and `after`.
    """
    return {"started": earlier.get("started"), "changes": list(_changes(sweep, earlier))}


def sentence(change: Mapping[str, Any]) -> str:
    """Return a change as a line of text."""
    return f"{change['cell']}: {change['what']} {change['before']} -> {change['after']}"


def _changes(sweep: Mapping[str, Any], earlier: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    before = {cell["id"]: cell for cell in earlier["cells"]}
    now = {cell["id"]: cell for cell in sweep["cells"]}
    for name, cell in now.items():
        if name in before:
            yield from _of_cell(before[name], cell)
        else:
            yield _change(cell, "cell", "absent", cell["status"])
    yield from (_change(cell, "cell", cell["status"], "absent") for name, cell in before.items() if name not in now)


def _of_cell(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    if old["status"] != new["status"]:
        yield _change(new, "status", old["status"], new["status"])
    if not old["figures"] or not new["figures"]:
        return
    if old["verified"] != new["verified"]:
        yield _change(new, "verified", str(old["verified"]).lower(), str(new["verified"]).lower())
    for name in FIGURES:
        pair = [_value(cell["figures"].get(name)) for cell in (old, new)]
        if _differs(name, *pair):
            yield _change(new, FIGURES[name].title, *(figure_text(name, value) for value in pair))
    for name, artifact in new["artifacts"].items():
        was = old["artifacts"].get(name)
        # A builder of engines measures the machine, so its bytes differ each time.
        if was is not None and artifact["deterministic"] and was["digest"] != artifact["digest"]:
            yield _change(new, f"sha256 of {name}", was["digest"][:16], artifact["digest"][:16])
    for name in sorted(old["artifacts"].keys() ^ new["artifacts"].keys()):
        words = ("present", "absent") if name in old["artifacts"] else ("absent", "present")
        yield _change(new, name, *words)


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


def _change(cell: Mapping[str, Any], what: str, before: str, after: str) -> dict[str, str]:
    return {"cell": " ".join(cell["overrides"]), "what": what, "before": before, "after": after}
