"""Events that report the builder's progress during a build."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from cosybuild.building.stage import Emit

ResultT = TypeVar("ResultT")
_POLL_SECONDS = 0.2


class Progress:
    """The builder's current phases.

    The library's threads write them, and the thread that started the build reads them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, list[int]] = {}

    def begin(self, phase: str, steps: int) -> None:
        """Record that a phase of `steps` steps has begun."""
        with self._lock:
            self._open[phase] = [0, steps]

    def step(self, phase: str, step: int) -> None:
        """Record that step number `step` of a phase, counted from 0, is done."""
        with self._lock:
            if phase in self._open:
                self._open[phase][0] = step + 1

    def end(self, phase: str) -> None:
        """Record that a phase has ended."""
        with self._lock:
            self._open.pop(phase, None)

    @property
    def innermost(self) -> tuple[str, int, int] | None:
        """(name, finished steps, total steps) of the phase that began last; None between phases."""
        with self._lock:
            if not self._open:
                return None
            phase = next(reversed(self._open))
            done, total = self._open[phase]
            return phase, done, total


def monitor_into(module: Any, progress: Progress) -> Any | None:
    """Return an IProgressMonitor of `module` that writes into `progress`; None if this version lacks that class."""
    if not hasattr(module, "IProgressMonitor"):
        return None

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]  # the base is only known at run time
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.begin(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.step(phase_name, step)
            return True  # True lets the build continue

        def phase_finish(self, phase_name: str) -> None:
            progress.end(phase_name)

    return Monitor()


def run_watched(
    work: Callable[[], ResultT], progress: Progress, emit: Emit, meanwhile: Callable[[], None] = lambda: None
) -> ResultT:
    """Run `work` in a new thread, and report its progress from the calling thread.

    The library's callbacks cannot call `emit` themselves, because `emit` may raise an exception, which cannot pass
    through native code.

    Args:
        work: the function to run; an exception that it raises is raised again in the calling thread.
        progress: the progress, which the library's callbacks write.
        emit: function that reports events.
        meanwhile: function that the calling thread calls five times a second.

    Returns:
        The result of `work`.
    """
    results: list[ResultT] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again in the caller's thread
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
