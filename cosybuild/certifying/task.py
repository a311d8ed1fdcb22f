"""`Task`, the input of the certification of one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cosybuild.config.settings import Settings

_STREAMING = ".streaming."
"""The part of a file's name which says that the graph has the streaming mask."""


@dataclass(frozen=True)
class Task:
    """One file to certify.

    Attributes:
        path: the ONNX file or the recording.
        shown: the file's name for messages.
        settings: the settings of a build from the model directory, see `match.locate_model`.
        streaming: the attention variant that the user expects; None if the user states none.
    """

    path: Path
    shown: str
    settings: Settings
    streaming: bool | None = None

    @property
    def expected(self) -> bool | None:
        """The attention variant that the file must have, stated by the user or by its name; None if any is right."""
        return True if self.streaming is None and _STREAMING in self.path.name else self.streaming
