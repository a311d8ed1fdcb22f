"""The console output of a sweep: one line for each finished cell, then the table, the failures and the report."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cosybuild.cli.ci_results import CiResults
from cosybuild.cli.console import BuildConsole
from cosybuild.cli.printed import say
from cosybuild.printable import one_line
from cosybuild.report.figures import counted, moment, seconds
from cosybuild.report.sweep_history import sentence
from cosybuild.report.sweep_table import figure_text, shown_figures, work
from cosybuild.sweeps.records import exit_code
from cosybuild.sweeps.write import write_sweep

_STYLES = {"ok": "green", "cached": "cyan", "pending": "yellow", "failed": "red"}


def finish_sweep(directory: Path, results: CiResults, *, quiet: bool = False) -> int:
    """Write the final report of a sweep, print its table, and return the exit code.

    Args:
        directory: the directory of the sweep.
        results: the results for CI systems; the report is added to them.
        quiet: print only the paths of the artifacts, and the failures to stderr.
    """
    sweep = write_sweep(directory)
    results.swept(sweep)
    if quiet:
        for cell in sweep["cells"]:
            for artifact in cell["artifacts"].values():
                say(one_line(os.path.relpath(directory / cell["run"] / artifact["path"])))
        for told in _troubles(sweep):
            say(told.plain, file=sys.stderr)
        return exit_code(sweep)
    BuildConsole(sys.stdout).console.print(Group(*_parts(sweep, directory)))
    return exit_code(sweep)


def cell_line(cell: Mapping[str, Any], place: str, shown: Sequence[str]) -> Text:
    """Return the line for a finished cell, e.g. `      ok  3/8  export=opset18 trt=fp16  41.2 s, 2 built, 4 cached`.

    Args:
        cell: the cell's record.
        place: the number of the cell in the sweep, such as `3/8`.
        shown: the overrides to print.
    """
    word = verdict(cell)
    # The whole message is printed below the table.
    rest = shorten(cell["failure"]["message"], 120, placeholder=" ...") if cell["failure"] else work(cell)
    head = (f"{word:>8}", _STYLES.get(word, "red"))
    return Text.assemble(head, f"  {place}  {' '.join(shown)}  ", (f"{seconds(cell['seconds'])}, {rest}", "dim"))


def verdict(cell: Mapping[str, Any]) -> str:
    """Return the status of a cell; `cached` for a successful cell in which no step had to run."""
    actions = set(cell["actions"].values())
    return "cached" if cell["status"] == "ok" and actions == {"cached"} else str(cell["status"])


def _parts(sweep: Mapping[str, Any], directory: Path) -> Iterator[RenderableType]:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    names = shown_figures(sweep)
    for column in ("", *sweep["varied"]):
        table.add_column(column)
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for cell in sweep["cells"]:
        word = verdict(cell)
        numbers = [figure_text(name, cell["figures"].get(name)) for name in names]
        table.add_row(Text(word, _STYLES.get(word, "red")), *cell["choices"].values(), *numbers)
    yield Text("")
    yield table
    yield Text("")
    yield from _troubles(sweep)
    if since := sweep["since"]:
        yield Text(
            f"Since the sweep of {moment(since['started'])}: {'nothing changed.' if not since['changes'] else ''}"
        )
        yield from (Text(f"  {sentence(change)}") for change in since["changes"])
    yield Text(f"{directory}/sweep.html", style="dim")


def _troubles(sweep: Mapping[str, Any]) -> Iterator[Text]:
    """Yield a line for each failure and each step that waits for another machine, and one for unfinished cells."""
    for cell in sweep["cells"]:
        said = " ".join(f"{key}={value}" for key, value in cell["choices"].items())
        if cell["failure"]:
            hint = f"\n  {cell['failure']['hint']}" if cell["failure"]["hint"] else ""
            yield Text(f"{said}: {cell['failure']['kind']} error: {cell['failure']['message']}{hint}", style="red")
        for waiting in cell["pending"]:
            yield Text(f"{said}: pending: {waiting}", style="yellow")
    lost = [cell for cell in sweep["cells"] if cell["exit_code"] is None]
    if lost:
        yield Text(
            f"{counted(len(lost), 'cell')} did not finish. The same command continues the sweep; if there is an error "
            "above, mend it first.",
            style="red",
        )
