"""The writer of a sweep's report (sweep.json, sweep.md, sweep.html), and the reader of the records behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cosybuild.errors import ConfigurationError
from cosybuild.report.sweep import UNFINISHED, gather
from cosybuild.report.sweep_history import since
from cosybuild.report.sweep_html import sweep_html
from cosybuild.report.sweep_markdown import sweep_markdown
from cosybuild.sweeps.history import REPORT, last_report
from cosybuild.system.files import write_text
from cosybuild.system.json_records import write_json


def read_sweep(directory: Path) -> dict[str, Any]:
    """Read the records of a sweep and return the content of sweep.json as plain data, without writing it.

    Raises:
        ConfigurationError: a record of the sweep, or a report of one of its runs, is damaged.
    """
    with _understood(directory):
        return gather(directory)


def write_sweep(directory: Path) -> dict[str, Any]:
    """Read the records of a sweep, write its report, and return the content of sweep.json as plain data.

    Raises:
        ConfigurationError: see `read_sweep`.
    """
    with _understood(directory):
        sweep = gather(directory)
        # Compare only after every cell has ended. Otherwise cells that did not run yet would count as changes.
        earlier = None if sweep["status"] == UNFINISHED else last_report(directory)
        sweep["since"] = None if earlier is None else since(sweep, earlier)
        text, page = sweep_markdown(sweep), sweep_html(sweep)
    write_json(directory / REPORT, sweep)
    write_text(directory / "sweep.md", text)
    write_text(directory / "sweep.html", page)
    return sweep


@contextmanager
def _understood(directory: Path) -> Iterator[None]:
    try:
        yield
    # Exceptions of code that reads a file that is not JSON, or has other fields or types than the code expects.
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"A record of the sweep {directory} is damaged: {type(error).__name__}: {error}.",
            hint="Next: run the sweep again; it writes the records of all cells again.",
        ) from error
