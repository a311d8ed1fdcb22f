"""sweep.html: a sweep as one HTML page with a table and plots. It needs no network."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import cache
from importlib import resources
from importlib.util import find_spec
from string import Template
from typing import Any

from cosybuild import figure
from cosybuild.printable import everywhere, one_line
from cosybuild.report.assets import asset
from cosybuild.report.difference import value_text
from cosybuild.report.figures import moment
from cosybuild.report.sweep_figures import FIGURES
from cosybuild.report.sweep_markdown import link_to, reason
from cosybuild.report.sweep_table import figure_text, shown_figures, work


def sweep_html(sweep: Mapping[str, Any]) -> str:
    """Return the sweep as an HTML page.

    Without the extra `report` (plotly), the page has no plots, and a note names the extra.

    Args:
        sweep: the content of sweep.json.
    """
    return Template(asset("sweep.html")).substitute(
        title=html.escape(one_line(sweep["name"])),
        style=asset("page.css"),
        library=_plotly(),
        script=asset("sweep.js"),
        data=_inline(_page_data(sweep)),
    )


def _page_data(sweep: Mapping[str, Any]) -> dict[str, Any]:
    names = shown_figures(sweep)
    return {
        "name": sweep["name"],
        "status": sweep["status"],
        "started": moment(sweep.get("started")),
        "since": _since(sweep.get("since")),
        "words": sweep["words"],
        "models": sweep["models"],
        "versions": sweep["versions"],
        "hosts": sweep["hosts"],
        "varied": sweep["varied"],
        "differences": {
            key: {cell: value_text(value) for cell, value in values.items()}
            for key, values in sweep["differences"].items()
        },
        "figures": {n: {"title": FIGURES[n].title, "unit": FIGURES[n].unit, "help": FIGURES[n].help} for n in names},
        "cells": [_cell(cell, names) for cell in sweep["cells"]],
    }


def _since(since: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if since is None else {"started": moment(since["started"]), "changes": since["changes"]}


def _cell(cell: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    kept = ("id", "choices", "status", "overrides", "figures", "error_by_length", "latency_by_length", "verified")
    return {
        **{name: cell[name] for name in kept},
        "texts": {name: figure_text(name, cell["figures"].get(name)) for name in names},
        "work": work(cell),
        "cached": bool(cell["actions"]) and set(cell["actions"].values()) == {"cached"},
        "reason": "" if cell["status"] == "ok" else reason(cell),
        "report": f"{link_to(cell['run'])}/report.html" if cell["figures"] else "",
    }


def _inline(data: Any) -> str:
    """Return data as JSON text for a script element. It has no `<`, so no string of the data can end the element."""
    return figure.dumps(everywhere(data), ensure_ascii=False).replace("<", "\\u003c")


@cache
def _plotly() -> str:
    """Return the source of plotly.js from the plotly package; empty if plotly is not installed."""
    if find_spec("plotly") is None:
        return ""
    return (resources.files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
