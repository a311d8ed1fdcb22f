"""The builder's log, which is kept and not printed. Errors go into messages, memory sizes into reports."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

# TensorRT's numbers of the severities; 0 is an internal error.
ERROR, WARNING, INFO = 1, 2, 3

_ACTIVATION = re.compile(r"Total Activation Memory: (\d+) bytes")
_WEIGHTS = re.compile(r"Total Weights Memory: (\d+) bytes")
_PEAK = re.compile(r"Peak memory usage during Engine building and serialization: CPU: (\d+) MiB")
# On a machine without a driver, this error follows every other error, and is not their cause.
_NO_DRIVER = "cudaError 35"


@dataclass
class BuilderLog:
    """The builder's log.

    Attributes:
        lines: (severity, text) of each line, without verbose lines.
    """

    lines: list[tuple[int, str]] = field(default_factory=list)

    @property
    def errors(self) -> tuple[str, ...]:
        """The texts of the errors, in order, without the error about a missing driver."""
        said = [text for severity, text in self.lines if severity <= ERROR]
        return tuple(text for text in said if not (text.startswith("[checkMacros") and _NO_DRIVER in text))

    @property
    def warnings(self) -> tuple[str, ...]:
        """The texts of the warnings, each once, in order."""
        return tuple(dict.fromkeys(text for severity, text in self.lines if severity == WARNING))

    @property
    def activation_bytes(self) -> tuple[int, ...]:
        """For each profile, the device memory for activations in bytes; empty if the log does not state it."""
        return tuple(int(found) for found in self._find(_ACTIVATION))

    @property
    def weights_bytes(self) -> int | None:
        """The device memory for weights in bytes; None if the log does not state it."""
        found = self._find(_WEIGHTS)
        return int(found[-1]) if found else None

    @property
    def peak_host_bytes(self) -> int | None:
        """The peak host memory of this process since its start, in bytes; None if the log does not state it."""
        found = self._find(_PEAK)
        return int(found[-1]) * 2**20 if found else None

    def _find(self, pattern: re.Pattern[str]) -> list[str]:
        return [match[1] for severity, text in self.lines if severity == INFO and (match := pattern.search(text))]


def logger_into(module: Any, log: BuilderLog) -> Any:
    """Return an ILogger of `module` that appends to `log`. Any thread of the library may call it."""

    class Capture(module.ILogger):  # type: ignore[misc]  # the base is only known at run time
        def __init__(self) -> None:
            # The binding requires a direct call of its initialiser; super().__init__() does not satisfy it.
            module.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if int(severity) <= INFO:
                log.lines.append((int(severity), text.strip()))

    return Capture()
