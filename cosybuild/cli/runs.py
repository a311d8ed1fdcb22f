"""`runs`: list the recorded runs, the newest first."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from cosybuild import figure
from cosybuild.cli import units
from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import Terminal, say
from cosybuild.printable import one_line
from cosybuild.report.figures import moment, size
from cosybuild.run.run_list import RunSummary, list_runs
from cosybuild.run.run_names import RUNS
from cosybuild.system.typed_json import to_json

_STYLES = {"ok": "green", "pending": "yellow", "interrupted": "yellow", "unfinished": "yellow"}
_SEAL = {True: ", verified", False: ", verification failed", None: ", not verified"}


def main(arguments: Sequence[str]) -> int:
    """Print one line for each run: name, start, artifacts, verdict and size. Read nothing but records."""
    parser = Parser.of_verb("runs", __doc__)
    parser.option("--limit", "N", "print only the N newest runs", units.positive)
    parser.switch("--json", "print a JSON list")
    options = parser.parse_args(arguments)
    found = list(list_runs(options.limit))
    if options.json:
        print(figure.dumps(to_json(found), indent=2, ensure_ascii=False))
    elif found:
        console = Terminal(soft_wrap=True)
        # Print whole lines also to a log, a pipe or a narrow terminal.
        console.width = max(console.width, 10_000)
        console.print(_table(found))
    else:
        say(f"There is no run in {RUNS}. Next: python -m cosybuild")
    return 0


def _table(found: Sequence[RunSummary]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column, justify in (("run", "left"), ("started", "left"), ("verdict", "left"), ("size", "right")):
        table.add_column(column, justify="right" if justify == "right" else "left")
    table.add_column("built")
    for run in found:
        verdict = Text(_verdict(run), _STYLES.get(run.status, "red"))
        built = ", ".join(run.artifacts) or run.model
        table.add_row(
            one_line(run.name), moment(run.started), verdict, size(run.size) if run.size else "-", one_line(built)
        )
    return table


def _verdict(run: RunSummary) -> str:
    """Return the status of a run and its verification, e.g. `ok, verified`.

    A run that did not end well has only a status. `imported` is added for a run from a bundle.
    """
    seal = _SEAL[run.verified] + (" in part" if run.in_part else "") if run.status in ("ok", "pending") else ""
    return one_line(f"{run.status}{seal}{', imported' if run.imported else ''}")
