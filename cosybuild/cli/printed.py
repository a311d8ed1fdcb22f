"""Safe output to the terminal: text that commands print, with control characters replaced by escapes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from cosybuild.printable import visible


def say(text: str = "", *, file: TextIO | None = None, end: str = "\n") -> None:
    """Print text that may contain names from other people's files; replace its control characters by escapes.

    Args:
        text: the text.
        file: the stream; None for stdout.
        end: printed after the text.
    """
    print(visible(text), file=sys.stdout if file is None else file, end=end)


class Terminal(Console):
    """A rich console for text that may come from other people.

    It does not interpret markup in the text, and it replaces control characters by escapes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable.

        Control characters in the texts become escapes. The control codes that rich itself adds are kept.
        """
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
