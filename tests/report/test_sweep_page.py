"""The page in a real browser without a network: plots are drawn, the table can be sorted, and nothing is logged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cosybuild.report.sweep_html import sweep_html
from tests.report.browser import needs_browser, opened

selenium = pytest.importorskip("selenium", reason="the extra test brings it")


def cell(name: str, index: int, status: str = "ok", **figures: float | None) -> dict[str, Any]:
    return {
        "id": f"{index:010}",
        "overrides": [f"trt={name}"],
        "choices": {"trt": name},
        "status": status,
        "exit_code": 0 if status == "ok" else 4,
        "failure": None
        if status == "ok"
        else {"kind": "engine", "message": "</script><b>no</b>", "hint": "Next: less"},
        "run": f"../../runs/{name}",
        "verified": True,
        "actions": {"export": "cached", "engine": "built"},
        "figures": figures,
        "error_by_length": [(4, 1e-6), (500, 2e-6), (3000, figures["error"])] if figures else [],
        "latency_by_length": [],
        "artifacts": {},
        "pending": [],
        "seconds": 1.0,
        "host": "a",
    }


CELLS = [
    cell("fp32", 0, error=1e-5, snr_db=111.0, size=315e6, memory=1220e6, nodes=2198, build_time=140.0),
    cell("bf16", 1, error=3e-2, snr_db=31.0, size=160e6, memory=60e6, nodes=2198, build_time=95.0),
    cell("fp16", 2, error=4e-3, snr_db=55.0, size=157e6, memory=42e6, nodes=2198, build_time=101.0),
    cell("mixed", 3, "failed"),
]
SWEEP: dict[str, Any] = {
    "name": "matrix-0a1b2c3d",
    "status": "failed",
    "sweeper": "basic",
    "words": ["trt=fp32,bf16,fp16,mixed"],
    "varied": ["trt"],
    "cells": CELLS,
    "differences": {"precision.target": {c["id"]: c["choices"]["trt"] for c in CELLS[:3]}},
    "models": ["cosyvoice2, weights flow.pt"],
    "versions": {"torch": "2.13"},
    "hosts": ["a"],
    "started": 1_795_800_000.0,
    "since": {
        "started": 1_795_700_000.0,
        "changes": [{"cell": "trt=fp16", "what": "size", "before": "<b>150 MB</b>", "after": "157 MB"}],
    },
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    page = tmp_path_factory.mktemp("page") / "sweep.html"
    page.write_text(sweep_html(SWEEP), encoding="utf-8")
    with opened(page) as driver:
        yield driver


@needs_browser
def test_the_page_loads_without_network_and_without_errors(browser: Any) -> None:
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


@needs_browser
def test_both_plots_are_drawn_with_every_cell_that_has_figures(browser: Any) -> None:
    points = browser.execute_script("return document.querySelectorAll('#pareto .scatterlayer .point').length")
    assert points == 3
    lines = browser.execute_script("return document.querySelectorAll('#lengths .scatterlayer .js-line').length")
    assert lines == 3
    names = browser.execute_script(
        "return [...document.querySelectorAll('#lengths .legendtext')].map(t => t.textContent)"
    )
    assert names == ["fp32", "bf16", "fp16"]


@needs_browser
def test_the_front_connects_the_cells_that_no_other_cell_beats(browser: Any) -> None:
    front = browser.execute_script("return front(sweep.cells.slice(0, 3), 'memory').map(c => c.choices.trt)")
    assert front == ["fp16", "fp32"]  # bf16 is both larger and worse than fp16


@needs_browser
def test_another_cost_redraws_the_plot(browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    choice = Select(browser.find_element(By.ID, "cost"))
    assert [option.text for option in choice.options] == ["activations", "size", "build time", "nodes"]
    choice.select_by_visible_text("build time")
    title = "return document.querySelector('#pareto .xtitle').textContent"
    assert browser.execute_script(title) == "build time (s)"


@needs_browser
def test_the_table_sorts_by_number_in_both_directions_with_gaps_last(browser: Any) -> None:
    from selenium.webdriver.common.by import By

    def order() -> list[str]:
        return [row.text.split()[1] for row in browser.find_elements(By.CSS_SELECTOR, "#cells tbody tr")]

    assert order() == ["fp32", "bf16", "fp16", "mixed"]
    button = next(b for b in browser.find_elements(By.CSS_SELECTOR, "#cells th button") if b.text == "activations")
    button.click()
    assert order() == ["fp16", "bf16", "fp32", "mixed"]
    button.click()
    assert order() == ["fp32", "bf16", "fp16", "mixed"]
    sorted_by = browser.execute_script(
        "return [...document.querySelectorAll('#cells th')].filter(h => h.ariaSort !== 'none').length"
    )
    assert sorted_by == 1


@needs_browser
def test_a_failure_is_reported_as_text(browser: Any) -> None:
    from selenium.webdriver.common.by import By

    told = browser.find_element(By.ID, "troubles").text
    assert "engine error: </script><b>no</b> Next: less" in told


@needs_browser
def test_the_changes_since_the_last_sweep_are_listed(browser: Any) -> None:
    from selenium.webdriver.common.by import By

    panel = browser.find_element(By.ID, "since").text
    assert "Since the sweep of 2026-11-26 13:33:20 UTC" in panel
    assert "trt=fp16 size <b>150 MB</b> 157 MB" in panel
    assert "Nothing changed" not in panel
    assert "started 2026-11-27 17:20:00 UTC" in browser.find_element(By.TAG_NAME, "header").text


@needs_browser
def test_equal_values_are_not_the_best(browser: Any) -> None:
    best = browser.execute_script("return [...document.querySelectorAll('td.best')].map(c => c.textContent)")
    assert best == ["1.0e-05", "111 dB", "95.0 s", "157 MB", "42 MB"], "all cells have 2,198 nodes"


@needs_browser
def test_titles_of_axes_do_not_lie_over_labels(browser: Any) -> None:
    overlapping = browser.execute_script("""
        const boxes = (selector) => [...document.querySelectorAll(selector)].map(e => e.getBoundingClientRect());
        const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
        return ["#pareto", "#lengths"].flatMap(plot => boxes(`${plot} .ytitle`).flatMap(
            title => boxes(`${plot} .ytick text`).filter(label => meet(title, label)))).length""")
    assert overlapping == 0


def test_the_page_contains_its_data_and_its_library() -> None:
    page = sweep_html(SWEEP)
    data = page.split('id="data">')[1].split("</script>")[0]
    assert [c["choices"]["trt"] for c in json.loads(data)["cells"]] == ["fp32", "bf16", "fp16", "mixed"]
    assert "plotly.js v" in page


def test_without_the_extra_the_page_names_the_command_for_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    from cosybuild.report import sweep_html as module

    monkeypatch.setattr(module, "_plotly", lambda: "")
    page = module.sweep_html(SWEEP)
    assert "plotly.js v" not in page
    assert "cosybuild[report]" in page


def test_each_cell_links_its_run_directory(tmp_path: Path) -> None:
    assert "../../runs/fp32/report.html" in sweep_html(SWEEP)
