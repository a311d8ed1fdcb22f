"""The events of a build. The console, the log file and reports read them.

| kind | when | facts |
|---|---|---|
| planning | something that takes time before the steps are known | message |
| planned | once for each step, before the first step runs | verdict, reason |
| started | a step begins to build | reason, does (in words), expected (seconds; None without history) |
| progress | a stage reports its progress | `done`, `total`, `what`, as far as the stage knows them |
| waiting | another process builds the same key | holder |
| finished | a step was built | seconds, peak_bytes, outputs |
| cached | a step was not built | action (hit, pulled), reason, seconds |
| blocked | this machine cannot run the step | lacks |
| failed | a step ended with an error | failure, message, hint |
| warning, note | a message for the user | message |
| evidence | a step that is about to fail wrote a file that shows why; the file exists only during the event | path |
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosybuild import figure
from cosybuild.system.clock import SYSTEM_CLOCK, Clock

KINDS = frozenset(["planning", "planned", "started", "progress", "waiting", "finished"]).union(
    ["cached", "failed", "blocked", "warning", "note", "evidence"]
)


@dataclass(frozen=True)
class Event:
    """One event of a build.

    Attributes:
        at: the time in seconds since the epoch.
        kind: one of KINDS.
        step: the label of the step; None for an event of the whole build.
        facts: plain JSON data, whose fields depend on the kind.
    """

    at: float
    kind: str
    step: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


Sink = Callable[[Event], None]


class EventBus:
    """Passes every event to every sink, in the same order. It is thread-safe.

    A sink that cannot write (a full disk, a closed pipe) is removed, and the other sinks receive a warning, because a
    log must not end a build. Any other error of a sink is a defect and is raised.
    """

    def __init__(self, sinks: Iterable[Sink] = (), clock: Clock = SYSTEM_CLOCK) -> None:
        self._sinks = list(sinks)
        self._clock = clock
        self._lock = threading.RLock()

    def add(self, sink: Sink) -> None:
        """Pass all further events to `sink` too."""
        with self._lock:
            self._sinks.append(sink)

    def emit(self, kind: str, step: str | None = None, /, **facts: Any) -> None:
        """Make an event of this kind, step and facts, and pass it to all sinks."""
        assert kind in KINDS, f"'{kind}' is no kind of event"
        with self._lock:
            self._hand_out(Event(self._clock.now(), kind, step, facts))

    def _hand_out(self, event: Event) -> None:
        broken = []
        for sink in list(self._sinks):
            try:
                sink(event)
            except (OSError, ValueError) as error:  # ValueError: a closed or badly encoded stream
                self._sinks.remove(sink)
                broken.append(f"the event log {sink} cannot be written any more: {error}")
        for message in broken:
            self._hand_out(Event(self._clock.now(), "warning", None, {"message": message}))


class JsonLines:
    """Event sink that appends each event to a file as one line of JSON.

    Each line is a single write to a file opened for appending. So the file of a killed process has whole lines only.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)

    def __call__(self, event: Event) -> None:
        os.write(self._file, line_from_event(event).encode())

    def __repr__(self) -> str:
        return str(self._path)

    def close(self) -> None:
        """Close the file; a later event raises OSError."""
        os.close(self._file)


def line_from_event(event: Event) -> str:
    """Return an event as one line of JSON, with a line end. A value unknown to JSON is written as `str(value)`."""
    plain = {"at": event.at, "kind": event.kind, "step": event.step, **event.facts}
    return figure.dumps(plain, default=str) + "\n"
