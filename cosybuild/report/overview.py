"""The main differences between two runs: verdict, settings, model, versions, operators, main figures and artifacts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cosybuild.figure import number
from cosybuild.report.difference import ABSENT, Pair, difference
from cosybuild.report.figures import size
from cosybuild.report.highlights import highlight

_DIGITS = 3
"""The number of significant digits of a figure. Two figures that are equal in these digits count as equal."""


def overview(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Pair]]:
    """Return section -> name -> (value in a, value in b), only for main values that differ.

    `difference` returns all values that differ.

    Args:
        a: the content of one report.json.
        b: the content of the other.
    """
    found = difference(a, b)
    sections = {
        "verdict": _changed(_verdict(a), _verdict(b)),
        "settings": {name.removeprefix("config."): pair for name, pair in found.get("configuration", {}).items()},
        "model": found.get("model", {}),
        "versions": found.get("environment", {}),
        "graph": found.get("graph", {}),
        "figures": _changed(dict(_figures(a)), dict(_figures(b))),
        "artifacts": _changed(_artifacts(a), _artifacts(b)),
    }
    return {section: pairs for section, pairs in sections.items() if pairs}


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Pair]:
    names = [*old, *(name for name in new if name not in old)]
    pairs = ((name, (old.get(name, ABSENT), new.get(name, ABSENT))) for name in names)
    return {name: pair for name, pair in pairs if pair[0] != pair[1]}


def _verdict(report: Mapping[str, Any]) -> dict[str, Any]:
    failure = report.get("failure")
    return {
        "status": report["status"],
        "verified": report["verified"],
        **({"failure": f"{failure['step']}: {failure['message']}"} if failure else {}),
    }


def _figures(report: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the most important figure of each step as a phrase, and the figures of its worst case, rounded."""
    for step in report["steps"]:
        if phrase := highlight(step):
            yield step["label"], phrase.replace(" -> ", " to ")  # the arrow separates the two runs
        worst = (step["metrics"] or {}).get("worst")
        for name, value in worst.items() if isinstance(worst, Mapping) else ():
            if name != "case" and (rounded := _rounded(value)) is not None:
                yield f"{step['label']} worst {name}", rounded


def _rounded(value: Any) -> str | None:
    """Return a figure as text with a few significant digits; None for a value that is not a number."""
    try:
        figure = number(value)
    except ValueError:
        return None
    if figure is None:
        return None
    # A cosine or a share near one needs more digits.
    return f"{figure:.6f}" if 0.99 < figure < 1 else f"{figure:.{_DIGITS}g}"


def _artifacts(report: Mapping[str, Any]) -> dict[str, str]:
    return {a["name"]: f"{a['digest'][:12]} ({size(a['size'])})" for a in report["artifacts"]}
