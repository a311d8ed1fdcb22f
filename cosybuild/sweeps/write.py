"""The writer of a sweep's report: sweep.json, sweep.md, sweep.html."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cosybuild.report.sweep import gather
from cosybuild.report.sweep_html import sweep_html
from cosybuild.report.sweep_markdown import sweep_markdown
from cosybuild.system.files import write_text
from cosybuild.system.json_records import write_json


def write_sweep(directory: Path) -> dict[str, Any]:
    """Gather the cells of a sweep, write its report, and return sweep.json as plain data."""
    sweep = gather(directory)
    write_json(directory / "sweep.json", sweep)
    write_text(directory / "sweep.md", sweep_markdown(sweep))
    write_text(directory / "sweep.html", sweep_html(sweep))
    return sweep
