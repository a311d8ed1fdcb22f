"""The result of a stage before it is stored: its files and its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StageResult:
    """The result of running a stage.

    Attributes:
        outputs: slot -> the files written in the working directory, the main one first.
        metrics: plain JSON data for the report; stored with the artifacts, so that a cached step
            has its figures too.
        subprocess_bytes: the largest peak memory of a subprocess that the stage ran.
    """

    outputs: Mapping[str, Sequence[Path]]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    subprocess_bytes: int = 0
