"""Tables and lists in Markdown. Text from other people's files is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cosybuild.printable import paragraph, text


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table, and an empty line after it.

    Args:
        head: the heads of the columns.
        rows: the cells of each row. A cell is escaped, unless it is of the type `Markdown`.
    """
    yield "| " + " | ".join(map(_cell, head)) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(map(_cell, row)) + " |"
    yield ""


def _cell(value: object) -> str:
    # Escape `|` in code spans too, because Markdown splits a row into cells before it finds the code spans.
    return text(value).replace("|", "\\|")


def bullets(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield a section with this title and one list item for each line; yield nothing if there are no lines."""
    items = [f"- {paragraph(line)}" for line in lines]
    if items:
        yield f"## {text(title)}"
        yield ""
        yield from items
        yield ""
