"""The changes of a sweep since the earlier sweep in the same directory: added and removed cells, and changed cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cosybuild.report.changes import change, changes


def since(sweep: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Return the start of the earlier sweep and the changes since then, as JSON data.

    A change has the `cell` (its overrides), `what` changed, and the texts `before` and `after`.

    Args:
        sweep: the content of the new sweep.json.
        earlier: the content of the earlier sweep.json.
    """
    return {"started": earlier.get("started"), "changes": list(_changes(sweep, earlier))}


def sentence(change: Mapping[str, Any]) -> str:
    """Return a change of `since` as one line of text."""
    return f"{change['cell']}: {change['what']} {change['before']} -> {change['after']}"


def _changes(sweep: Mapping[str, Any], earlier: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    before = {cell["id"]: cell for cell in earlier["cells"]}
    now = {cell["id"]: cell for cell in sweep["cells"]}
    for name, cell in now.items():
        found = changes(before[name], cell) if name in before else [change("cell", "absent", cell["status"])]
        yield from (_of(cell, one) for one in found)
    yield from (_of(cell, change("cell", cell["status"], "absent")) for name, cell in before.items() if name not in now)


def _of(cell: Mapping[str, Any], found: Mapping[str, str]) -> dict[str, str]:
    return {"cell": " ".join(cell["overrides"]), **found}
