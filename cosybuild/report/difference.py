"""All differences between two runs, read from JSON only: configuration, versions, graph, figures and artifacts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cosybuild import figure

Pair = tuple[Any, Any]

ABSENT = "(absent)"
"""The text that stands for the value in a run without the name. A recorded null is shown as null."""

_LEFT_OUT = ("config.store", "config.dry_run", "config.lock", "config.hold_to")


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Pair]]:
    """Return section -> name -> (value in a, value in b), only for values that differ.

    Args:
        a: the content of one report.json.
        b: the content of the other.
    """
    sections = {
        "configuration": (flat("config", a["config"]), flat("config", b["config"])),
        "model": (flat("model", a["model"]), flat("model", b["model"])),
        "environment": (flat("", a["environment"]["versions"]), flat("", b["environment"]["versions"])),
        "graph": (_ops(a), _ops(b)),
        "figures": (_figures(a), _figures(b)),
        "artifacts": (_artifacts(a), _artifacts(b)),
    }
    return {name: found for name, (old, new) in sections.items() if (found := dict(_changes(old, new)))}


def difference_lines(found: Mapping[str, Mapping[str, Pair]]) -> Iterator[str]:
    """Yield the result of `difference` or `overview` as lines of text, section by section."""
    if not found:
        yield "No difference."
    for section, names in found.items():
        yield f"{section}:"
        width = max(map(len, names))
        for name, (old, new) in names.items():
            yield f"  {name:<{width}}  {value_text(old)} -> {value_text(new)}"


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Pair]]:
    for name in sorted(set(old) | set(new)):
        pair = (old.get(name, ABSENT), new.get(name, ABSENT))
        if pair[0] != pair[1] and not name.startswith(_LEFT_OUT) and not _is_shown_by_members(name, pair, old, new):
            yield name, pair


def _is_shown_by_members(name: str, pair: Pair, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return True if a value is an empty list or mapping in one run, and has members in the other run.

    The members then have rows of their own, which show the difference.
    """
    empty = any(isinstance(value, Mapping | list) for value in pair)
    return empty and any(other.startswith(f"{name}.") for other in (*old, *new))


def flat(prefix: str, value: Any) -> dict[str, Any]:
    """Return dotted name -> value of every leaf of nested plain data. An empty list or mapping counts as a leaf.

    Args:
        prefix: the beginning of every name, or an empty text.
        value: the data.
    """
    if isinstance(value, Mapping | list | tuple) and not value:
        return {prefix: list(value) if isinstance(value, tuple) else value} if prefix else {}
    if isinstance(value, Mapping):
        items = [(str(name), inner) for name, inner in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(index), inner) for index, inner in enumerate(value)]
    else:
        return {prefix: value}
    found: dict[str, Any] = {}
    for name, inner in items:
        found.update(flat(f"{prefix}.{name}" if prefix else name, inner))
    return found


def _ops(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return operator -> number of nodes in the last graph that the run made."""
    ops: dict[str, Any] = {}
    for step in report["steps"]:
        found = (step["metrics"] or {}).get("ops")
        ops = ops if found is None else dict(found)
    return ops


def _figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted name -> value of the numbers and texts in the metrics of all steps, without operator counts."""
    figures = {}
    for step in report["steps"]:
        metrics = {name: value for name, value in (step["metrics"] or {}).items() if name != "ops"}
        found = flat(step["label"], metrics)
        figures.update({name: v for name, v in found.items() if isinstance(v, int | float | str | None)})
    return figures


def _artifacts(report: Mapping[str, Any]) -> dict[str, Any]:
    return {artifact["name"]: artifact["digest"] for artifact in report["artifacts"]}


def value_text(value: Any) -> str:
    """Return a value as text for people. A digest is shortened to 12 digits, and anything but a text is JSON."""
    if isinstance(value, str) and value != "":
        return value[:12] if len(value) == 64 else value
    return figure.dumps(value, ensure_ascii=False)
