"""Tables and lists of Markdown, with all foreign text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cosybuild.printable import paragraph, text


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table, and an empty line. Cells are escaped unless they are `Markdown`."""
    yield "| " + " | ".join(map(_cell, head)) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(map(_cell, row)) + " |"
    yield ""


def _cell(value: object) -> str:
    # Escape `|` also in a code span: Markdown splits a table into cells before it reads them.
    return text(value).replace("|", "\\|")


def bullets(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield a section with one item for each line; nothing if there are no lines."""
    items = [f"- {paragraph(line)}" for line in lines]
    if items:
        yield f"## {text(title)}"
        yield ""
        yield from items
        yield ""
