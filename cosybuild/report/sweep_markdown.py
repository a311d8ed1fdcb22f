"""sweep.md: the report of a sweep as Markdown for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from cosybuild.printable import Markdown, code, paragraph, text
from cosybuild.report.difference import value_text
from cosybuild.report.figures import moment
from cosybuild.report.markdown_parts import table
from cosybuild.report.sweep_figures import FIGURES
from cosybuild.report.sweep_history import sentence
from cosybuild.report.sweep_table import figure_text, shown_figures, work

_VERDICTS = {
    "ok": "Every cell finished.",
    "pending": "Finished on this machine; some cells need another machine.",
    "failed": "**Some cells failed**; the others are not affected.",
    "unfinished": "**Not finished.** The same command continues the sweep.",
}


def sweep_markdown(sweep: Mapping[str, Any]) -> str:
    """Return the report of a sweep as Markdown.

    Args:
        sweep: the content of sweep.json.
    """
    return "\n".join(_lines(sweep)) + "\n"


def _lines(sweep: Mapping[str, Any]) -> Iterator[str]:
    yield f"# Sweep {text(sweep['name'])}: {sweep['status']}"
    yield ""
    yield f"{_VERDICTS[sweep['status']]} Plots and a table that sorts: [sweep.html](sweep.html)."
    yield ""
    names = shown_figures(sweep)
    titles = [FIGURES[name].title for name in names]
    yield from table(("", *sweep["varied"], *titles, "work", "run"), _rows(sweep, names))
    yield from _troubles(sweep)
    yield from _since(sweep.get("since"))
    yield "## Differences between the cells"
    yield ""
    for key, values in sweep["differences"].items():
        said = ", ".join(dict.fromkeys(value_text(value) for value in values.values()))
        yield f"- {code(key)}: {text(said)}"
    yield ""
    models, hosts = "; ".join(sweep["models"]), ", ".join(sweep["hosts"])
    yield f"Built from {text(models or 'nothing yet')}, on {text(hosts or 'no host yet')}, started "
    yield f"{moment(sweep.get('started'))}."


def _rows(sweep: Mapping[str, Any], names: list[str]) -> Iterator[tuple[str, ...]]:
    for cell in sweep["cells"]:
        run = Markdown(f"[report](<{link_to(cell['run'])}/report.html>)") if cell["figures"] else ""
        numbers = (figure_text(name, cell["figures"].get(name)) for name in names)
        yield cell["status"], *cell["choices"].values(), *numbers, work(cell), run


def _troubles(sweep: Mapping[str, Any]) -> Iterator[str]:
    troubled = [cell for cell in sweep["cells"] if cell["status"] != "ok"]
    if not troubled:
        return
    yield "## Cells that did not finish"
    yield ""
    for cell in troubled:
        yield f"- {code(' '.join(cell['overrides']))}: {paragraph(reason(cell))}"
    yield ""


def _since(since: Mapping[str, Any] | None) -> Iterator[str]:
    if since is None:
        return
    yield f"## Since the sweep of {moment(since['started'])}"
    yield ""
    yield from (f"- {paragraph(sentence(change))}" for change in since["changes"])
    if not since["changes"]:
        yield "Nothing changed."
    yield ""


def link_to(path: str) -> str:
    """Return a path as the target of a link.

    Special characters are escaped, so that no browser reads a part of the path as a scheme, host, query or fragment.
    """
    plain = f"/{path.lstrip('/')}" if path.startswith("/") else path
    try:
        content = plain.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character in a record, which no name of a file has
        content = plain.encode("utf-8", "backslashreplace")
    return quote(content, safe="/.-_~ ")


def reason(cell: Mapping[str, Any]) -> str:
    """Return a sentence with the reason why the status of a cell is not `ok`."""
    if cell["failure"]:
        hint = f" {cell['failure']['hint']}" if cell["failure"]["hint"] else ""
        return f"{cell['failure']['kind']} error: {cell['failure']['message']}{hint}"
    if cell["pending"]:
        return f"pending: {'; '.join(cell['pending'])}"
    words = {"missing": "it never started", "unfinished": "its process ended without writing a result"}
    return f"{cell['status']}: {words.get(cell['status'], 'see its run')}."
