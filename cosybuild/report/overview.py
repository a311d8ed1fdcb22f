"""The differences between two runs that a person compares: verdicts, settings, versions, operators and main figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cosybuild.figure import number
from cosybuild.report.difference import ABSENT, Pair, difference
from cosybuild.report.figures import size
from cosybuild.report.highlights import highlight

_DIGITS = 3
"""The significant digits of a figure; two figures that agree in them do not differ here."""


def overview(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Pair]]:
    """Return section -> name -> (value in a, value in b), only where they differ; `difference` has every figure.

    Args:
        a, b: two report.json.
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
    """Yield the main figure of each step as a phrase, and its worst figures, rounded."""
    for step in report["steps"]:
        if phrase := highlight(step):
            yield step["label"], phrase.replace(" -> ", " to ")  # the arrow separates the two runs
        worst = (step["metrics"] or {}).get("worst")
        for name, value in worst.items() if isinstance(worst, Mapping) else ():
            if name != "case" and (rounded := _rounded(value)) is not None:
                yield f"{step['label']} worst {name}", rounded


def _rounded(value: Any) -> str | None:
    """Return a figure with a few significant digits; None for a value that is no figure."""
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
