"""The summary that the console shows at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cosybuild.report import voice
from cosybuild.report.changes import since_lines
from cosybuild.report.figures import action, counted, seconds, size
from cosybuild.report.highlights import highlight
from cosybuild.report.remarks import remarks

_STYLES = {"built": "green", "cached": "cyan", "pulled": "cyan", "blocked": "yellow", "failed": "red"}


def summary(report: Mapping[str, Any], directory: str) -> RenderableType:
    """Return the summary: a table of the steps, then the artifacts, the remarks and the path of the report.

    Args:
        report: the content of report.json.
        directory: the path of the run directory.
    """
    return Group(*_parts(report, directory))


def one_line(report: Mapping[str, Any], directory: str) -> str:
    """Return the line that is printed for a run that had nothing to do.

    Args:
        report: the content of report.json.
        directory: the path of the run directory.
    """
    return f"Nothing to do: {counted(len(report['steps']), 'step')} up to date. {directory}/report.md"


def _parts(report: Mapping[str, Any], directory: str) -> Iterator[RenderableType]:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column, justify in (("step", "left"), ("", "left"), ("time", "right"), ("peak memory", "right"), ("", "left")):
        table.add_column(column, justify="right" if justify == "right" else "left", header_style="dim")
    for step in report["steps"]:
        word = action(step)
        built = word == "built"
        style = _STYLES.get(word, "dim")
        spent = seconds(step["seconds"]) if built else ""
        peak = size(step["peak_bytes"]) if built else ""
        table.add_row(step["label"], Text(word, style), spent, peak, Text(highlight(step)))
    yield Text("")
    yield table
    yield Text("")
    for metrics in voice.metrics_of(report):
        yield from _voice(metrics)
        yield Text("")
    for artifact in report["artifacts"]:
        yield Text(f"{directory}/{artifact['path']}  {size(artifact['size'])}")
    notes = [f"{note}." for note in report["model"]["notes"]]
    yield from (Text(line, style="yellow") for line in (*notes, *remarks(report)))
    if since := report.get("since"):
        yield from map(Text, since_lines(since) if since["changes"] else ())
    if archive := report.get("capsule"):
        cause = f"  probable cause: {archive['cause']['name']}" if archive["cause"] else ""
        yield Text(f"{directory}/{archive['path']}  {size(archive['size'])}  reproduces the failure{cause}")
    yield Text(f"{directory}/report.md", style="dim")


def _voice(metrics: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield two tables: the figures of each form of a whole voice, and the loss that each lowered part causes.

    A form is a choice of artifacts for the parts of the voice, such as all in float32.
    """
    for head, rows in ((voice.FORMS, voice.form_rows(metrics)), (voice.LOSSES, voice.loss_rows(metrics))):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in head:
            table.add_column(column, header_style="dim")
        for row in rows:
            table.add_row(*map(Text, row))
        if table.rows:
            yield table
