"""The result of a stage before it is stored: its files and its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StageResult:
    """The files and metrics that one run of a stage has made.

    Attributes:
        outputs: slot -> the files in the working directory, the main file first.
        metrics: measurements for the report, as plain JSON data. They are stored with the artifacts, so that a cached
            step has them too.
        subprocess_bytes: the largest peak memory, in bytes, of a subprocess that the stage ran; 0 for none.
    """

    outputs: Mapping[str, Sequence[Path]]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    subprocess_bytes: int = 0
