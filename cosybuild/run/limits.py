"""Limits of time and memory for processes that run what another person's file describes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cosybuild.building.stage import Emit
from cosybuild.building.subprocess import Died, call_in_subprocess
from cosybuild.errors import ConfigurationError

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class ProcessLimits:
    """The limits of one process.

    Attributes:
        seconds: the longest wall time of the process.
        memory: the largest size of the process's address space in bytes; None for no limit.
    """

    seconds: int = 900
    memory: int | None = 32 * 2**30

    def __str__(self) -> str:
        return f"{self.seconds} s" + ("" if self.memory is None else f" and {self.memory / 2**30:.3g} GiB")


def call_limited(
    source: Path, limits: ProcessLimits, function: Callable[..., ResultT], *arguments: Any, emit: Emit
) -> ResultT:
    """Run `function(*arguments, emit)` in a subprocess with limits and return its result.

    Args:
        source: the file that describes the work; the error names it.
        limits: the limits.
        function: a function that can be pickled, as for `call_in_subprocess`.
        arguments: its arguments.
        emit: called with the events that the function emits.

    Raises:
        ConfigurationError: the process does not end within the limits.
        CosybuildError: the function raised it.
        RuntimeError: the function raised another exception, which is a defect.
    """
    try:
        result: ResultT = call_in_subprocess(_run, limits, function, arguments, emit=emit).value
        return result
    except (Died, MemoryError) as error:
        raise ConfigurationError(
            f"{source} is refused: what it describes did not end within {limits}: {error}.",
            hint="Next: give it more with --max-seconds N and --max-memory SIZE, if you trust who made it.",
        ) from error


def _run(limits: ProcessLimits, function: Callable[..., ResultT], arguments: tuple[Any, ...], emit: Emit) -> ResultT:
    _set(limits)
    return function(*arguments, emit)


def _set(limits: ProcessLimits) -> None:
    """Set limits with which the operating system ends this process, even during native code."""
    try:
        import resource  # POSIX only
    except ImportError:
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(limits.seconds)
    if limits.memory is not None:
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        memory = limits.memory if most == resource.RLIM_INFINITY else min(limits.memory, most)
        resource.setrlimit(resource.RLIMIT_AS, (memory, most))
