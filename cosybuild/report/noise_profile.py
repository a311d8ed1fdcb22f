"""The noise profile of a lowered graph: the table in report.md and the plot in profile.svg."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from cosybuild.figure import number
from cosybuild.printable import code

PLOT = "profile.svg"
_NOT_FINITE = -999.0
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 960, 360, 56, 36, 96


def profile_of(report: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the noise profile of a run; None if there is none.

    A run has one if the step `profile` was requested, or if its failure archive contains one.
    """
    for step in report["steps"]:
        if step["stage"] == "profile" and step.get("metrics"):
            found: Mapping[str, Any] = step["metrics"]
            return found
    return (report.get("capsule") or {}).get("profile")


def rows(profile: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return one table row for each of the noisiest nodes, with the columns of `HEAD`."""
    return [
        (code(n["node"]), n["op"], level(ratio(n["fresh_db"])), level(ratio(n["snr_db"]))) for n in profile["nodes"]
    ]


HEAD = ("node", "", "adds noise at", "signal-to-noise ratio after it")


def ratio(value: Any) -> float:
    """Return a recorded signal-to-noise ratio in dB as a number.

    In older records, null stands for an infinite ratio, and -999 for values that are not finite, which give `-inf`.
    """
    found = number(value)
    if found is None:
        return math.inf
    return -math.inf if found <= _NOT_FINITE else found


def level(decibels: float) -> str:
    """Return a ratio in dB as text, e.g. `52.3 dB`; `none` for an infinite ratio, `not finite` for `-inf`."""
    if decibels == math.inf:
        return "none"
    return "not finite" if decibels == -math.inf else f"{decibels:.1f} dB"


def plot(profile: Mapping[str, Any]) -> str:
    """Return a standalone SVG with the signal-to-noise ratio after each node, in the order of the graph."""
    return "\n".join(_svg(profile)) + "\n"


def _svg(profile: Mapping[str, Any]) -> Iterator[str]:
    curve = [ratio(value) for value in profile["curve"]]
    known = [value for value in curve if math.isfinite(value)]
    low, high = min([0.0, *known]), max([60.0, *known]) + 5
    wide, tall = _WIDTH - _LEFT - 16, _HEIGHT - _TOP - _BOTTOM

    def x(index: float) -> float:
        return _LEFT + wide * index / max(1, len(curve) - 1)

    def y(value: float) -> float:
        return _TOP + tall * (high - max(value, low)) / (high - low)

    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="11" fill="#333">'
    )
    yield f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>'
    title = f"Signal-to-noise ratio after each node, {escape(profile['case'])}"
    yield f'<text x="{_LEFT}" y="20" font-size="13">{title}</text>'
    for mark in range(int(low // 20) * 20, int(high) + 1, 20):
        if mark >= low:
            yield f'<line x1="{_LEFT}" x2="{_LEFT + wide}" y1="{y(mark):.1f}" y2="{y(mark):.1f}" stroke="#ddd"/>'
            yield f'<text x="{_LEFT - 6}" y="{y(mark) + 4:.1f}" text-anchor="end">{mark} dB</text>'
    yield from _blocks(profile["blocks"], x, tall)
    yield from _line(curve, x, y)
    yield "</svg>"


def _blocks(blocks: Sequence[Sequence[Any]], x: Any, tall: float) -> Iterator[str]:
    shown = -100.0
    for index, name in blocks:
        at = x(index)
        yield f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_TOP + tall}" stroke="#eee"/>'
        if at - shown >= 13:  # names would overlap
            shown = at
            place = f'x="{at:.1f}" y="{_TOP + tall + 12}"'
            turn = f'transform="rotate(45 {at:.1f} {_TOP + tall + 12})"'
            yield f"<text {place} {turn}>{escape(str(name))}</text>"


def _line(curve: Sequence[float], x: Any, y: Any) -> Iterator[str]:
    """Yield the curve as SVG: a gap at each infinite ratio, and a mark at each node with values that are not finite."""
    run: list[str] = []
    for index, value in [*enumerate(curve), (len(curve), math.inf)]:
        if math.isfinite(value):
            run.append(f"{x(index):.1f},{y(value):.1f}")
            continue
        if run:
            yield f'<polyline points="{" ".join(run)}" fill="none" stroke="#1f6feb" stroke-width="1.2"/>'
        run = []
        if value == -math.inf:
            yield f'<circle cx="{x(index):.1f}" cy="{y(value):.1f}" r="2.5" fill="#d1242f"/>'
