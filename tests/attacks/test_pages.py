"""Texts of strangers in the page of a sweep."""

from __future__ import annotations

import copy
import json
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from cosybuild.report.sweep_html import sweep_html
from cosybuild.report.sweep_markdown import sweep_markdown

FAILURE = {"kind": "engine", "message": "it failed", "hint": "Next: less"}
CELL = {
    "id": "0" * 10,
    "overrides": ["trt=fp16"],
    "choices": {"trt": "fp16"},
    "status": "failed",
    "failure": FAILURE,
    "run": "../../runs/a",
    "verified": False,
    "actions": {"export": "built"},
    "figures": {"error": 1e-3},
    "error_by_length": [],
    "latency_by_length": [],
    "pending": [],
    "seconds": 1.0,
}
SWEEP: dict[str, Any] = {
    "name": "matrix",
    "status": "failed",
    "words": ["trt=fp16"],
    "varied": ["trt"],
    "cells": [CELL],
    "differences": {"precision.target": {CELL["id"]: "fp16"}},
    "models": ["cosyvoice2, weights flow.pt"],
    "versions": {"torch": "2.13"},
    "hosts": ["a"],
    "started": 1_795_800_000.0,
    "since": {"started": 1.0, "changes": [{"cell": "trt=fp16", "what": "size", "before": "1 MB", "after": "2 MB"}]},
}
FIXED = ("status", "id")
PAYLOADS = [
    "</script><script>evil()</script>",
    "<img src=x onerror=evil()>",
    "<!--<script>",
    '"><b onclick="evil()">',
    "${script}",
    "\x1b[31m\u202e\u2028",
    "\ud800",
]


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[Any] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment", data))


def changed(value: Any, payload: str, field: str = "") -> Any:
    """Return the data with the payload at the end of every text that a person or a model chooses."""
    if isinstance(value, dict):
        return {name: changed(inner, payload, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [changed(inner, payload, field) for inner in value]
    return value + payload if isinstance(value, str) and field not in FIXED else value


def data_of(page: str) -> Any:
    return json.loads(page.partition('id="data"')[2].partition(">")[2].partition("</script>")[0])


@pytest.fixture(autouse=True)
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosybuild.report.sweep_html._plotly", str)


@pytest.mark.attack("deceive", "the page has its own elements only, and no invisible character")
@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_no_text_of_a_sweep_becomes_a_part_of_its_page(payload: str) -> None:
    plain, page = sweep_html(SWEEP), sweep_html(changed(copy.deepcopy(SWEEP), payload))
    assert Tags(page).found == Tags(plain).found
    assert data_of(page)["cells"][0]["reason"].startswith("engine")
    assert not set(page) & set("\x1b\u202e\u2028\ud800")


@pytest.mark.attack("execute", "the link leads to a path, whatever the name of the run is")
@pytest.mark.parametrize("run", ["javascript:evil()//", "https://evil.example", "//evil.example", "a#b?c%2fd", "a b"])
def test_the_link_to_a_run_is_a_path(run: str) -> None:
    sweep = {**SWEEP, "cells": [{**CELL, "run": run}]}
    link = data_of(sweep_html(sweep))["cells"][0]["report"]
    assert urlsplit(link)[:2] == ("", "")
    assert urlsplit(link)[3:] == ("", "")
    assert unquote(link).endswith(f"{run.lstrip('/')}/report.html")
    assert f"(<{link}>)" in sweep_markdown(sweep)
