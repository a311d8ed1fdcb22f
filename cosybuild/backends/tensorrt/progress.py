"""The builder's progress as events, while it builds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from cosybuild.core.stage import Emit

ResultT = TypeVar("ResultT")
_POLL_SECONDS = 0.2


class Progress:
    """What the builder last said of itself. The library's threads write it, ours reads it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, list[int]] = {}

    def begin(self, phase: str, steps: int) -> None:
        """A phase of so many steps begins."""
        with self._lock:
            self._open[phase] = [0, steps]

    def step(self, phase: str, step: int) -> None:
        """A step is done."""
        with self._lock:
            if phase in self._open:
                self._open[phase][0] = step + 1

    def end(self, phase: str) -> None:
        """A phase is over."""
        with self._lock:
            self._open.pop(phase, None)

    @property
    def innermost(self) -> tuple[str, int, int] | None:
        """Name, steps done and steps in all of the phase that began last; None between phases."""
        with self._lock:
            if not self._open:
                return None
            phase = next(reversed(self._open))
            done, total = self._open[phase]
            return phase, done, total


def monitor_into(module: Any, progress: Progress) -> Any | None:
    """An IProgressMonitor of `module` that writes into `progress`; None where this version has none."""
    if not hasattr(module, "IProgressMonitor"):
        return None

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]  # the base is only known at run time
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.begin(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.step(phase_name, step)
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            progress.end(phase_name)

    return Monitor()


def run_watched(
    work: Callable[[], ResultT], progress: Progress, emit: Emit, meanwhile: Callable[[], None] = lambda: None
) -> ResultT:
    """Run `work` in a thread of its own, and report its progress from this one.

    An exception cannot pass through the library's callbacks, and whoever is told may raise one.

    Args:
        meanwhile: called at each look at the progress, some times a second.
    """
    results: list[ResultT] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:  # handed over to the caller's thread, not handled
            failures.append(error)

    worker = threading.Thread(target=body, name="engine builder", daemon=True)
    worker.start()
    seen = None
    while worker.is_alive():
        worker.join(_POLL_SECONDS)
        meanwhile()
        now = progress.innermost
        if now is not None and now != seen:
            seen = now
            emit("progress", what=now[0], done=now[1], total=now[2])
    if failures:
        raise failures[0]
    return results[0]
