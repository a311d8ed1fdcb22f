"""The console output of a running build: live progress on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TextIO

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from cosybuild.building.events import Event
from cosybuild.cli.flags import Volume
from cosybuild.cli.printed import Terminal
from cosybuild.printable import one_line
from cosybuild.report.figures import seconds

_LONG = 10.0
"""The shortest expected duration, in seconds, that is printed when a step starts."""


class BuildConsole:
    """Event sink that prints the progress of a build. Call `close` before printing anything else."""

    def __init__(
        self, stream: TextIO, before: Callable[[], None] = lambda: None, volume: Volume = Volume.usual
    ) -> None:
        """Prepare the console without printing anything.

        Args:
            stream: the output; a terminal gets live progress.
            before: called before anything is printed.
            volume: the amount of output. With `usual`, a terminal gets a line when a step ends, but a log does not: the
                table at the end gives the results, and the line at a step's start names the step if the process is
                killed.
        """
        self._before, self._volume = before, volume
        # Do not cut lines outside a terminal, so that a log can be searched.
        width = None if stream.isatty() else 10_000
        self.console = Terminal(file=stream, soft_wrap=not stream.isatty(), width=width)
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        # Events of the kinds `planned` and `note` are printed only with -v. The file events.jsonl always has them.
        self._handlers: dict[str, Callable[[str, Mapping[str, Any]], None]] = {
            "planning": self._planning,
            "started": self._started,
            "progress": self._advanced,
            "waiting": self._waiting,
            "finished": self._finished,
            "cached": self._cached,
            "blocked": self._blocked,
            "failed": self._failed,
            "warning": self._warning,
        }

    def __call__(self, event: Event) -> None:
        if self._volume is Volume.quiet:
            return
        show = self._handlers.get(event.kind)
        if show is not None:
            show(event.step or "", event.facts)
        elif self._volume is Volume.all:
            told = (f"{name}={value}" for name, value in event.facts.items() if name != "message")
            self._line(
                event.kind, "dim", event.step or "", " ".join([str(event.facts.get("message", "")), *told]).strip()
            )

    def close(self) -> None:
        """Stop the live display, so that other output can be printed."""
        self._before()
        if self._progress is not None:
            self._progress.stop()
        self._progress, self._task = None, None

    @property
    def _tells_ends(self) -> bool:
        """True if a line is printed when a step ends."""
        return self.console.is_terminal or self._volume is Volume.all

    def _planning(self, step: str, facts: Mapping[str, Any]) -> None:
        self._line("planning", "bold", step, str(facts["message"]))

    def _started(self, step: str, facts: Mapping[str, Any]) -> None:
        said = [facts.get("reason"), facts.get("does") and f"{facts['does']}{_expected(facts.get('expected'))}"]
        self._line("building", "bold", step, "; ".join(part for part in said if part))
        if self.console.is_terminal:
            what = TextColumn("{task.description}", markup=False)
            columns = (SpinnerColumn(), what, BarColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns, console=self.console, transient=True)
            self._progress.start()
            self._task = self._progress.add_task(step, total=None)

    def _advanced(self, step: str, facts: Mapping[str, Any]) -> None:
        if self._volume is Volume.all and not self.console.is_terminal:
            told = (f"{name}={value}" for name, value in facts.items() if value is not None)
            self._line("progress", "dim", step, " ".join(told))
        if self._progress is not None and self._task is not None:
            what = f"{step} · {facts['what']}" if facts.get("what") else step
            done, total = facts.get("done"), facts.get("total")
            self._progress.update(self._task, description=what, total=total, completed=done)

    def _finished(self, step: str, facts: Mapping[str, Any]) -> None:
        self.close()
        if self._tells_ends:
            self._line("built", "green", step, _seconds(facts.get("seconds")))

    def _cached(self, step: str, facts: Mapping[str, Any]) -> None:
        self.close()
        if self._tells_ends:
            self._line(
                "pulled" if facts.get("action") == "pulled" else "cached", "cyan", step, facts.get("reason") or ""
            )

    def _blocked(self, step: str, facts: Mapping[str, Any]) -> None:
        self._line("blocked", "yellow", step, f"needs {'; '.join(facts.get('lacks', ()))}")

    def _failed(self, step: str, facts: Mapping[str, Any]) -> None:
        self.close()
        self._line("failed", "red", step, "")

    def _waiting(self, step: str, facts: Mapping[str, Any]) -> None:
        self._line("waiting", "yellow", step, f"{facts.get('holder')} is building the same step")

    def _warning(self, step: str, facts: Mapping[str, Any]) -> None:
        self._line("warning", "yellow", step, str(facts.get("message", "")))

    def _line(self, word: str, style: str, step: str, rest: str) -> None:
        self._before()
        step, rest = one_line(step), one_line(rest)
        text = Text.assemble((f"{word:>8}", style), "  ", step, "  " if step and rest else "", (rest, "dim"))
        self.console.print(text)


def _expected(before: float | None) -> str:
    """Return a phrase with the duration of the most similar earlier build, in seconds or minutes.

    The phrase is empty if that build took less than `_LONG` seconds. None means that there is no such build.
    """
    if before is None:
        return " (first time here)"
    return f" (the most similar build took {seconds(before)})" if before >= _LONG else ""


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
