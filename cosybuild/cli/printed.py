"""The output to the terminal: all text of commands is printed here, and none of it can control the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from cosybuild.printable import visible


def say(text: str = "", *, file: TextIO | None = None, end: str = "\n") -> None:
    """Print text that may hold names and reasons from other people; control characters in it become escapes."""
    print(visible(text), file=sys.stdout if file is None else file, end=end)


class Terminal(Console):
    """A rich console for text from other people: it interprets no markup, and control characters become escapes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable; rich's own control codes stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
