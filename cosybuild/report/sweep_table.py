"""The figures of a sweep's cells as text, and the choice of the figures that get a column in tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cosybuild.report.figures import seconds, size
from cosybuild.report.sweep_figures import FIGURES


def shown_figures(sweep: Mapping[str, Any]) -> list[str]:
    """Return the names of the figures that at least one cell of the sweep has."""
    return [name for name in FIGURES if any(cell["figures"].get(name) is not None for cell in sweep["cells"])]


def figure_text(name: str, value: float | None) -> str:
    """Return one figure as text for people, e.g. `1.2e-04`, `46 dB`, `42 MB` or `41 ms`; `-` for None.

    An error of zero is `0`, and an infinite signal-to-noise ratio is `exact`.

    Args:
        name: the name of the figure in `FIGURES`, which determines the unit.
        value: its value; None if the cell does not have it.
    """
    if value is None:
        return "-"
    unit = FIGURES[name].unit
    if math.isinf(value):
        return "exact" if value > 0 and unit == "dB" else f"{value}"
    if unit == "ratio":
        return f"{value:.1e}" if value != 0 else "0"
    if unit == "seconds":
        return seconds(value) if value >= 1 else f"{value * 1e3:.3g} ms"
    return {"bytes": size(value), "count": f"{value:,.0f}", "dB": f"{value:.0f} dB"}[unit]


def work(cell: Mapping[str, Any]) -> str:
    """Return how many steps of the cell's last build had each action, e.g. `2 built, 4 cached`."""
    done = list(cell["actions"].values())
    words = dict.fromkeys(done)
    return ", ".join(f"{done.count(word)} {word}" for word in words)
