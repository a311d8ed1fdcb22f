"""The opening line of a command, shown before Hydra and other slow imports are loaded."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence

from cosybuild.cli.flags import is_silent

_BUILDING = ("-m", "--multirun", "-v", "--verbose")
"""The options of a command that builds; with any other option, Hydra prints a text and ends."""

_EVERY = 0.5
_ERASE = "\r\x1b[2K"


class Opening:
    """The line that a command shows at its start, until it prints anything else.

    On a terminal, the line counts the seconds until `close` is called. Elsewhere, it is one plain line. A command that
    finds nothing to do prints one line only, so the plain line is printed only if there is no `outputs` directory yet:
    then there is certainly work to do. A command that asks Hydra for a text, such as `--help`, shows no opening line.

    Call `close` before printing anything else. If `begin` was not called, nothing is shown.
    """

    def __init__(self) -> None:
        self._what = ""
        self._begun = 0.0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, words: Sequence[str]) -> Opening:
        """Show the line and return this object; show nothing if the words ask for quiet output or a text of Hydra."""
        if is_silent(words) or any(word.startswith("-") and word not in _BUILDING for word in words):
            return self
        self._what, self._begun = "reading the configuration", time.monotonic()
        if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            self._show()
            self._thread = threading.Thread(target=self._count, daemon=True)
            self._thread.start()
        elif not os.path.isdir("outputs"):  # noqa: PTH112  # pathlib is not needed yet
            print(f"{'starting':>8}  {self._what}", flush=True)
        return self

    def say(self, what: str) -> None:
        """Change the text of the line, which says what the command is doing."""
        self._what = what

    def close(self) -> None:
        """Remove the line from the terminal and stop counting."""
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            self._thread = None
            sys.stdout.write(_ERASE)
            sys.stdout.flush()

    def _count(self) -> None:
        while not self._over.wait(_EVERY):
            self._show()

    def _show(self) -> None:
        sys.stdout.write(f"{_ERASE}{'starting':>8}  {self._what}  {time.monotonic() - self._begun:.0f} s")
        sys.stdout.flush()
